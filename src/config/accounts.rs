//! The settings for accounts: the first admin, who may register, which names nobody may have.

use super::{Reader, Secret, listed};
use crate::model::{email, password};

/// The admin that the server creates if there is no such user.
#[derive(Debug, Clone)]
pub struct AdminCredentials {
    /// The e-mail address, in lower case.
    pub email: String,
    /// The password: 12 to 128 characters.
    pub password: Secret,
}

/// Whether anybody may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// Whoever has an e-mail address.
    Open,
    /// Nobody: accounts come from an identity provider.
    Closed,
}

impl Reader<'_> {
    pub fn admin(&mut self) -> Option<AdminCredentials> {
        let (email, password) = (self.text("ADMIN_EMAIL"), self.secret("ADMIN_PASSWORD"));
        if let Some(email) = email.filter(|email| email::canonical(email).is_none()) {
            self.problem(format!("ADMIN_EMAIL is `{email}`, which is not an e-mail address on the internet"));
        }
        if let Some(password) = password {
            let shops_own = self.reserved_names();
            let own: Vec<_> = email.into_iter().chain(shops_own.iter().map(String::as_str)).collect();
            if password::check_length(password).is_err() {
                self.problem("ADMIN_PASSWORD has to have 12 to 128 characters");
            } else if let Err(problem) = password::check_strength(password, &own) {
                self.problem(format!("ADMIN_PASSWORD {problem}"));
            }
        }
        if email.is_some() != password.is_some() {
            self.missing("ADMIN_EMAIL and ADMIN_PASSWORD go together: set both or neither");
        }
        Some(AdminCredentials { email: email?.to_lowercase(), password: Secret::new(password?) })
    }

    pub fn registration(&mut self) -> Registration {
        match self.text("REGISTRATION") {
            None | Some("open") => Registration::Open,
            Some("closed") => Registration::Closed,
            Some(other) => {
                self.problem(format!("REGISTRATION is `{other}`, but it has to be `open` or `closed`"));
                Registration::Open
            }
        }
    }

    pub fn reserved_names(&self) -> Vec<String> {
        listed(self.text("RESERVED_NAMES").unwrap_or_default()).map(str::to_owned).collect()
    }
}
