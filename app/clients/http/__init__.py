"""The way out: one request function with the egress rules, caps and error tree; must not know any vendor's API."""

from app.clients.http.call import API_LIMITS, Answer, Call, Credentials, Limits, Observation, Observe, Upload
from app.clients.http.client import Http
from app.clients.http.egress import Egress, parse_url, place, same_origin
from app.clients.http.network import Resolver
from app.clients.http.streamed import Streamed

__all__ = [
    "API_LIMITS",
    "Answer",
    "Call",
    "Credentials",
    "Egress",
    "Http",
    "Limits",
    "Observation",
    "Observe",
    "Resolver",
    "Streamed",
    "Upload",
    "parse_url",
    "place",
    "same_origin",
]
