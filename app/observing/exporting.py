"""OpenTelemetry's own part of the traces: imported only where the environment asks for them (`app.observing.tracing`)."""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def exporting_provider(service: str) -> TracerProvider:
    """A provider of tracers whose spans go to the exporter that the environment names."""
    tracers = TracerProvider(resource=Resource.create({"service.name": service}))
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return tracers
