// What somebody who writes for speed in JavaScript would write for our webhook: Fastify checks the body, pg writes the
// rows that ours writes in one statement and commit, 202 follows; a line in the log for each request, as ours has.
// node server.mjs PORT, with PGHOST and so on in the environment; run from a copy beside node_modules.
import {createHmac} from 'node:crypto'
import fastify, {LogController} from 'fastify'
import pg from 'pg'

const CONNECTIONS = 20
const KEY = 'an invented key'
const ARRIVE = `
  WITH exam AS (
    INSERT INTO exams (id, request_uuid, exam_uuid, source, state, step, reason, submitted_at)
    VALUES (gen_random_uuid(), $1, $2, 'webhook', 'waiting', 'verify', 'link', $5)
    ON CONFLICT (request_uuid) DO NOTHING RETURNING id
  ), claim AS (
    INSERT INTO claims (id, exam_id, customer_hash, exam_uuid, download_url) SELECT id, id, $3, $2, $4 FROM exam
  ), event AS (
    INSERT INTO exam_events (exam_id, step, event, detail) SELECT id, 'verify', 'received', 'webhook' FROM exam
  )
  SELECT count(*)::int AS fresh FROM exam`
const text = (maxLength) => ({type: 'string', minLength: 1, maxLength})
const body = {
  type: 'object',
  required: ['request_uuid', 'exam_uuid', 'customer_id', 'download_url'],
  properties: {
    request_uuid: {type: 'string', format: 'uuid'},
    exam_uuid: {type: 'string', format: 'uuid'},
    customer_id: text(255),
    download_url: text(2048),
    submitted_at: {type: 'string', format: 'date-time'},
  },
}
const answer = {202: {type: 'object', properties: {status: {type: 'string'}, request_uuid: {type: 'string'}}}}

const pool = new pg.Pool({max: CONNECTIONS})
const app = fastify({logger: true, logController: new LogController({disableRequestLogging: true})})
app.addHook('onResponse', async (request, reply) => {
  request.log.info(
    {method: request.method, path: request.url, status: reply.statusCode, duration_ms: reply.elapsedTime},
    'request',
  )
})
app.post('/webhook', {schema: {body, response: answer}}, async (request, reply) => {
  const claim = request.body
  const customer = createHmac('sha256', KEY).update(claim.customer_id).digest()
  const values = [claim.request_uuid, claim.exam_uuid, customer, claim.download_url, claim.submitted_at ?? null]
  const {rows} = await pool.query({name: 'arrive', text: ARRIVE, values})
  reply.code(202)
  return {status: rows[0].fresh ? 'accepted' : 'duplicate', request_uuid: claim.request_uuid}
})
await app.listen({host: '127.0.0.1', port: Number(process.argv[2])})
