// A real Tus server for the tests: @tus/server with @tus/file-store, plus a log of what arrived.
// node tus_server.mjs PORT FOLDER LOG [TOKEN] — run from a copy beside node_modules. One JSON line per request in LOG.
// Prints "ready" when it listens. With TOKEN, requests without "Authorization: Bearer TOKEN" get 401.
import fs from 'node:fs'
import http from 'node:http'
import {FileStore} from '@tus/file-store'
import {Server} from '@tus/server'

const [port, folder, log, token] = process.argv.slice(2)
const datastore = new FileStore({directory: folder})
const server = new Server({path: '/files', datastore, relativeLocation: false})

function heldBytes(url) {
  try {
    return fs.statSync(`${folder}/${url.split('?')[0].split('/').pop()}`).size
  } catch {
    return null
  }
}

http
  .createServer(async (request, response) => {
    const entry = {
      method: request.method,
      url: request.url,
      offset: request.headers['upload-offset'] ?? null,
      length: request.headers['content-length'] ?? null,
      metadata: request.headers['upload-metadata'] ?? null,
    }
    if (token && request.headers.authorization !== `Bearer ${token}`) {
      request.resume()
      response.writeHead(401).end()
    } else {
      response.on('close', () => {
        fs.appendFileSync(
          log,
          `${JSON.stringify({...entry, status: response.statusCode, whole: response.writableFinished, held: heldBytes(request.url)})}\n`,
        )
      })
      await server.handle(request, response).catch(() => response.destroy())
    }
  })
  .listen(Number(port), '127.0.0.1', () => console.log('ready'))
