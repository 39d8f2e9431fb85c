//! The greeting in the terminal once the server is up: its address, the first admin, commands to try it.

use std::fmt::Write as _;

use crate::server::Server;

const NO_ADMIN: &str = "
Nobody can create products yet. Make yourself an admin, in another terminal with the same settings:

  flash-sale admin create you@shop.example

If somebody has registered your address already, make that account yours (a new password, all its logins end):

  flash-sale admin promote you@shop.example

";

/// The greeting, with three commands to paste into a shell.
pub fn text(server: &Server) -> String {
    let url = url(server);
    let mut text = format!("\nflash-sale is ready at {url} (the shop; a page to try the API: {url}/docs/)\n");
    if let Some(admin) = server.first_admin() {
        let (email, password) = (&admin.email, admin.password.reveal());
        write!(
            text,
            "\nThe first admin, shown only this once:\n  e-mail    {email}\n  password  {password}\n"
        )
        .unwrap_or_default();
    }
    let password = server.first_admin().map_or("THE-ADMINS-PASSWORD", |admin| admin.password.reveal());
    match server.admin_email() {
        Some(email) => text.push_str(&commands(&url, email, password)),
        None => text.push_str(NO_ADMIN),
    }
    text
}

fn url(server: &Server) -> String {
    let address = server.address();
    // 0.0.0.0 means every address of this machine, `localhost` among them.
    match address.ip().is_unspecified() {
        true => format!("http://localhost:{}", address.port()),
        false => format!("http://{address}"),
    }
}

/// If an answer has no token or id, it is a problem: `sed` shows it in the terminal and keeps it out of the variable.
fn commands(url: &str, email: &str, password: &str) -> String {
    format!(
        r#"
Log in, create a sale, buy:

  TOKEN=$(curl -sS {url}/auth/login -H 'Content-Type: application/json' \
    -d '{{"email":"{email}","password":"{password}"}}' \
    | sed -n -e 's/.*"token":"\([^"]*\)".*/\1/p' -e t -e 'w /dev/stderr')

  PRODUCT=$(curl -sS {url}/products -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
    -d '{{"name":"Limited sneaker","price":{{"amount":9900,"currency":"USD"}},"stock":100,"saleStartTime":"2025-01-01T00:00:00Z","saleEndTime":"2099-12-31T00:00:00Z"}}' \
    | sed -n -e 's/.*"id":"\([^"]*\)".*/\1/p' -e t -e 'w /dev/stderr')

  curl -sS {url}/products/purchase -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
    -H "Idempotency-Key: first-of-$PRODUCT" -d "{{\"productId\":\"$PRODUCT\"}}"

"#
    )
}
