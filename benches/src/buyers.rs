//! Tokens of buyers, signed with the server's secret as any identity provider would sign them.

use std::num::NonZero;
use std::thread;

use flash_sale::accounts::tokens::Tokens;
use flash_sale::config::{AccountsLimits, Secret};
use flash_sale::model::id::Id;
use flash_sale::model::user::{Role, User};
use mongodb::bson::DateTime;

use crate::Outcome;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The secret that the server signs tokens with
    #[arg(long)]
    secret: String,
    /// Print the token of an admin
    #[arg(long)]
    admin: bool,
    /// The user's id; a random one by default
    #[arg(long)]
    user: Option<Id>,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let role = if arguments.admin { Role::Admin } else { Role::Customer };
    println!(
        "{}",
        token(&signer(&arguments.secret), arguments.user.unwrap_or_default(), role, "Bench Mark")?
    );
    Ok(())
}

/// The token of a payment service.
pub fn payments_token(secret: &str) -> Outcome<String> {
    token(&signer(secret), Id::new(), Role::Payments, "Bench Payments")
}

pub fn signer(secret: &str) -> Tokens {
    Tokens::new(&Secret::new(secret), &AccountsLimits::default())
}

/// The tokens of `count` buyers; if `user` is given, all of them are this user's.
pub fn tokens(secret: &str, count: usize, user: Option<Id>) -> Outcome<Vec<String>> {
    let signer = signer(secret);
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let numbers: Vec<usize> = (0..count).collect();
    let mint = |numbers: &[usize]| -> Outcome<Vec<String>> {
        let of = |number| {
            token(&signer, user.unwrap_or_default(), Role::Customer, &format!("Bench Buyer {number}"))
        };
        numbers.iter().map(of).collect()
    };
    thread::scope(|scope| {
        let minting: Vec<_> = numbers
            .chunks(count.div_ceil(threads).max(1))
            .map(|numbers| scope.spawn(move || mint(numbers)))
            .collect();
        let mut tokens = Vec::with_capacity(count);
        for minted in minting {
            tokens.extend(minted.join().map_err(|_| "minting tokens failed")??);
        }
        Ok(tokens)
    })
}

fn token(signer: &Tokens, id: Id, role: Role, name: &str) -> Outcome<String> {
    let user = User { id, ..User::new(name.to_owned(), String::new(), String::new(), role, DateTime::now()) };
    Ok(signer.sign(&user).map_err(|error| error.code().title())?.token)
}
