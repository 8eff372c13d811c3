// Shows the description of the plugins. A key in the address goes on to it, and is taken out of the address.
"use strict";

const key = new URLSearchParams(location.search).get("apikey");
if (key !== null) {
  history.replaceState(null, "", location.pathname + location.hash);
}

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  requestInterceptor: (request) => {
    if (key !== null && request.loadSpec) {
      request.headers.Authorization = `Bearer ${key}`;
    }
    return request;
  },
});
