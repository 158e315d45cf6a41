"""The API's page for people, ``/docs``; all it loads comes from the API itself."""

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

# The files of Swagger UI come with this package; its own code is not used.
_FILES = ("fastapi_swagger", "resources")


def install(app: FastAPI) -> None:
    """Serve the page; it needs no token, as the document that it shows."""
    app.mount("/docs/files", StaticFiles(packages=[_FILES]))

    # Relative addresses, so that it also works below a path of a proxy.
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url="docs/files/swagger-ui-bundle.js",
            swagger_css_url="docs/files/swagger-ui.css",
            swagger_favicon_url="docs/files/favicon-32x32.png",
            swagger_ui_parameters={"tryItOutEnabled": True, "validatorUrl": None},
        )

    app.add_api_route("/docs", docs, include_in_schema=False)
