// Starts Swagger UI with this server's own document.

// Swagger UI has dark colours, but the page has to switch to them.
const dark = matchMedia('(prefers-color-scheme: dark)');
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', follow);
follow();

SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#swagger-ui',
  // Without the bar that loads a document from any address.
  layout: 'BaseLayout',
  // Each operation gets its own address.
  deepLinking: true,
  // Do not send the document to an online validator.
  validatorUrl: null,
  // Forget an entered token with the page: nothing else on this origin needs it.
  persistAuthorization: false,
});
