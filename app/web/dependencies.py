"""What a route may ask for: the process's resources."""

from typing import Annotated

from fastapi import Depends, Request

from app.resources import Resources


def get_resources(request: Request) -> Resources:
    """The resources that the application's lifespan opened."""
    resources: Resources = request.app.state.resources
    return resources


ResourcesDep = Annotated[Resources, Depends(get_resources)]
