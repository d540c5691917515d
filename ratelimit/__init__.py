"""Limits that a whole mesh shares: Envoy's rate limit protocol, with the counters in Redis or in this process.

`limits` decides and knows no I/O, `wire` reads and writes Envoy's messages, `counters` and `redis_counters` count,
`service` answers the proxies.
"""
