// Starts Swagger UI over this server's own document.

// Swagger UI has dark colours, but it is the page that switches to them.
const dark = matchMedia('(prefers-color-scheme: dark)');
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', follow);
follow();

SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#swagger-ui',
  // Without the bar that loads the document of any address.
  layout: 'BaseLayout',
  // An operation has an address of its own.
  deepLinking: true,
  // Nobody else is asked what he thinks of the document.
  validatorUrl: null,
  // A token that is entered here is forgotten with the page: nothing else of this origin has any use for it.
  persistAuthorization: false,
});
