"use strict";
window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  defaultModelsExpandDepth: 0,
  // It would send the description to a validator on the internet.
  validatorUrl: null,
  // A key stays in this tab's memory.
  persistAuthorization: false,
});
