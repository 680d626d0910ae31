"""The worker process: thin jobs over `app`, rung by Redis and, when Redis is away, by the database itself."""
