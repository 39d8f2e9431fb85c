use email_address::{EmailAddress, Options};

/// The longest address, in characters (RFC 5321, 4.5.3.1.3).
pub const CHARACTERS_MAX: usize = 254;

/// Whether `text` is a bare e-mail address. With display names (`Ada <ada@shop.example>`) one address could count as
/// many.
pub fn is_address(text: &str) -> bool {
    text.chars().count() <= CHARACTERS_MAX
        && EmailAddress::parse_with_options(text, Options::default().without_display_text()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_alone() {
        let long = |domain: usize| {
            let label = "a".repeat(63);
            let rest = "a".repeat(domain - 2 * 64);
            format!("{}@{label}.{label}.{rest}", "a".repeat(64))
        };
        for good in ["ada@shop.example", "ada+sale@shop.example", "ada@localhost", &long(254 - 65)] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "ada",
            "@shop.example",
            "Ada <ada@shop.example>",
            "<ada@shop.example>",
            "a\n\u{0}\u{202e} <ada@shop.example>",
            "ada@shop.example, eve@shop.example",
            "ada @shop.example",
            &long(255 - 65),
        ] {
            assert!(!is_address(bad), "{bad:?}");
        }
    }
}
