//! `flash-sale verify`: reads the books and says what does not add up.
//!
//! Every rule is about one product, or about one buyer of one product. So the books are read at one snapshot as long as
//! MongoDB keeps it, and what is left after that at later ones, product by product and buyer by buyer. Each rule is still
//! judged at a single one. The snapshot is that of a transaction that only reads, which MongoDB ends after a minute: older
//! history (`atClusterTime`) it need not keep, and a shop that follows docs/OPERATIONS.md keeps none.
//!
//! Memory does not grow with the purchases: they come in the order of an index, only neighbours are compared with each other, and
//! some hundred at a time with the audit log.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::config::Config;
use crate::model::id::Id;
use crate::signals::{INTERRUPTED, Signals};

use books::Books;
use findings::Findings;

mod books;
mod buyers;
mod findings;
mod history;
mod product;
mod steps;

/// The exit code when something does not add up.
const WRONG: u8 = 1;
/// The exit code of wrong usage or settings, and when the books cannot be read.
const NOT_READ: u8 = 2;

/// What to look at.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only this product
    #[arg(long, value_name = "ID", value_parser = product_id)]
    product: Option<Id>,
}

fn product_id(text: &str) -> Result<Id, String> {
    text.parse().map_err(|_| "it has to be an id of 24 hexadecimal digits".into())
}

/// Why the books could not be read, as one sentence for the person who asked.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The database cannot be found or read.
    #[error("{0}")]
    NotRead(String),
    /// A signal came.
    #[error("interrupted: nothing is said about what was not read")]
    Interrupted,
}

impl VerifyError {
    fn not_read(what: impl Display, cause: impl Display) -> Self {
        Self::NotRead(format!("{what}: {cause}"))
    }

    /// The program's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotRead(_) => NOT_READ,
            Self::Interrupted => INTERRUPTED,
        }
    }
}

impl From<mongodb::error::Error> for VerifyError {
    fn from(error: mongodb::error::Error) -> Self {
        // Without the server's whole answer.
        Self::not_read("the books cannot be read", error.kind)
    }
}

/// Verifies the books and prints what is wrong with them, one line each.
///
/// # Errors
/// Why they could not be read.
pub async fn run(
    arguments: &Arguments,
    config: &Config,
    signals: &mut Signals,
) -> Result<ExitCode, VerifyError> {
    let mut books = tokio::select! {
        books = Books::open(config) => books?,
        () = signals.next() => return Err(VerifyError::Interrupted),
    };
    let read = tokio::select! {
        read = read(arguments, &mut books) => read,
        () = signals.next() => Err(VerifyError::Interrupted),
    };
    books.close().await;
    let findings = read?;
    let told = writeln!(io::stdout(), "{}", findings.text());
    told.map_err(|error| VerifyError::not_read("the result cannot be written", error))?;
    Ok(if findings.is_fine() { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
}

async fn read(arguments: &Arguments, books: &mut Books) -> Result<Findings, VerifyError> {
    let mut findings = Findings::default();
    let products = books.products(arguments.product).await?;
    if let (Some(product), true) = (arguments.product, products.is_empty()) {
        return Err(VerifyError::NotRead(format!("there is no product {product}")));
    }
    books.expect(arguments.product).await?;
    books.check_indexes(&mut findings).await?;
    let mut limits = buyers::Limits::default();
    for product in products {
        product::check(books, product, &mut findings, &mut limits).await?;
    }
    buyers::check(books, arguments.product, &mut findings, &mut limits).await?;
    Ok(findings)
}
