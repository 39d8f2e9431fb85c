//! The page: `web/index.html` with the addresses of this build's files, and a head that names what it shows.

use std::fmt::Write as _;

use axum::http::HeaderMap;
use axum::response::Response;
use iso_currency::Currency;
use serde::Deserialize;

use super::POLICY;
use crate::config::{Registration, Shop};
use crate::http::file::{Caching, File};
use crate::model::money::Money;

const NAME: &str = "index.html";
const TEMPLATE: &str = include_str!("../../../web/index.html");
/// The parts of the template that differ: from a shop to another, and the head from a sale to another.
const HEAD: Part = Part("<!-- head -->", "<!-- /head -->");
const BRAND: Part = Part("<!-- brand -->", "<!-- /brand -->");
const LINKS: Part = Part("<!-- links -->", "<!-- /links -->");
/// The name of the shop in the template.
const NAME_DEFAULT: &str = "flash sale";
/// In the template as it is; the scripts read it, because a form that is always refused would be in the way.
const REGISTRATION_OPEN: &str = "data-registration=\"open\"";
const REGISTRATION_CLOSED: &str = "data-registration=\"closed\"";
/// The same for the button that marks a purchase as paid.
const DEMO_PAYMENTS_OFF: &str = "data-demo-payments=\"off\"";
const DEMO_PAYMENTS_ON: &str = "data-demo-payments=\"on\"";
/// What previews show of a text, in characters.
const DESCRIPTION_CHARACTERS_MAX: usize = 200;

/// What lies between two marks of the template.
struct Part(&'static str, &'static str);

impl Part {
    /// Replaces what lies between the marks by what `content` makes of it.
    fn replace(&self, page: &str, content: impl FnOnce(&str) -> String) -> String {
        let parts = page.split_once(self.0).and_then(|(before, rest)| {
            let (old, after) = rest.split_once(self.1)?;
            Some((before, old, after))
        });
        match parts {
            Some((before, old, after)) => [before, self.0, &content(old), self.1, after].concat(),
            None => page.to_owned(),
        }
    }
}

/// The page of one shop.
pub struct Page {
    /// The shop's name, escaped.
    shop: String,
    text: String,
    /// At an address that is the same for everybody.
    pub whole: File,
}

impl Page {
    /// `build` is the part of the files' addresses that changes with them.
    pub fn new(shop: &Shop, registration: Registration, build: &str) -> Self {
        let name = escaped(shop.name.as_deref().unwrap_or(NAME_DEFAULT));
        let text = TEMPLATE.replace("\"/assets/", &format!("\"/assets/{build}/"));
        let text = text.replace(&format!(">{NAME_DEFAULT}<"), &format!(">{name}<"));
        let text = text.replace(&format!("content=\"{NAME_DEFAULT}\""), &format!("content=\"{name}\""));
        let text = match registration {
            Registration::Open => text,
            Registration::Closed => text.replacen(REGISTRATION_OPEN, REGISTRATION_CLOSED, 1),
        };
        let text = match shop.demo_payments {
            true => text.replacen(DEMO_PAYMENTS_OFF, DEMO_PAYMENTS_ON, 1),
            false => text,
        };
        let text = BRAND.replace(&text, |ours| brand(shop, ours));
        let text = LINKS.replace(&text, |ours| shop.links.iter().map(link).collect::<String>() + ours);
        Self { whole: File::new(NAME, text.clone(), POLICY), shop: name, text }
    }

    /// The page of one sale.
    pub fn of_sale(&self, preview: &Preview, headers: &HeaderMap) -> Response {
        let page = HEAD.replace(&self.text, |_| head(&self.shop, preview));
        File::uncompressed(NAME, page, POLICY).answer(headers, Caching::Revalidate)
    }
}

/// The shop's logo and name in place of ours, as far as it has them.
fn brand(shop: &Shop, ours: &str) -> String {
    let logo = shop
        .logo_url
        .as_ref()
        .map(|url| format!("<img class=\"brand-logo\" src=\"{}\" alt=\"\">", escaped(url)));
    let name = shop.name.as_ref().map(|name| format!("<span dir=\"auto\">{}</span>", escaped(name)));
    match (logo, name) {
        (None, None) => ours.to_owned(),
        // A logo alone usually has the name in it, but not for those who hear the page.
        (Some(logo), None) => format!("{logo}<span class=\"unseen\">{NAME_DEFAULT}</span>"),
        (logo, Some(name)) => logo.unwrap_or_default() + &name,
    }
}

fn link((text, address): &(String, String)) -> String {
    format!("<a href=\"{}\">{}</a>\n      ", escaped(address), escaped(text))
}

/// What the head of a sale's page says; members of the product that the API shows.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    name: String,
    description: Option<String>,
    image_url: Option<String>,
    price: Money,
    sale_start_time: String,
    sale_end_time: String,
    status: String,
}

impl Preview {
    /// Reads what `GET /products/{id}` answers; `None` if it is anything else.
    pub fn of(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}

/// The title, and the Open Graph members from which messengers and networks make the preview of a link. Everything that
/// people have typed is escaped.
fn head(shop: &str, preview: &Preview) -> String {
    let name = escaped(&preview.name);
    let summary = escaped(&summary(preview));
    let mut head = format!(
        "<title>{name} – {shop}</title>\n  <meta name=\"description\" content=\"{summary}\">\n  \
         <meta property=\"og:type\" content=\"product\">\n  <meta property=\"og:site_name\" content=\"{shop}\">\n  \
         <meta property=\"og:title\" content=\"{name}\">\n  <meta property=\"og:description\" content=\"{summary}\">"
    );
    let card = match &preview.image_url {
        Some(url) => {
            let _ = write!(head, "\n  <meta property=\"og:image\" content=\"{}\">", escaped(url));
            "summary_large_image"
        }
        None => "summary",
    };
    let _ = write!(head, "\n  <meta name=\"twitter:card\" content=\"{card}\">");
    head
}

/// The price, when the sale is, and the beginning of the description. The words are few, because the language of those who
/// see the preview is not known.
fn summary(preview: &Preview) -> String {
    let when = match preview.status.as_str() {
        "upcoming" => format!("starts {}", minute(&preview.sale_start_time)),
        "live" => format!("now, until {}", minute(&preview.sale_end_time)),
        "sold_out" => "sold out".to_owned(),
        _ => format!("ended {}", minute(&preview.sale_end_time)),
    };
    let mut summary = format!("{} · {when}", price(&preview.price));
    if let Some(description) = &preview.description {
        let words = description.split_whitespace().collect::<Vec<_>>().join(" ");
        summary.push_str(" · ");
        summary.extend(words.chars().take(DESCRIPTION_CHARACTERS_MAX));
        if words.chars().count() > DESCRIPTION_CHARACTERS_MAX {
            summary.push('…');
        }
    }
    summary
}

/// `2026-11-28T10:00:00.000Z` to the minute.
fn minute(time: &str) -> String {
    match (time.get(..10), time.get(11..16)) {
        (Some(date), Some(clock)) => format!("{date} {clock} UTC"),
        _ => time.to_owned(),
    }
}

/// The amount in the currency's major unit and its code: `19.99 USD`.
fn price(money: &Money) -> String {
    let digits = Currency::from_code(&money.currency).and_then(Currency::exponent).unwrap_or_default();
    let digits = usize::from(digits);
    let amount = format!("{:0>width$}", money.amount, width = digits + 1);
    let (whole, fraction) = amount.split_at(amount.len() - digits);
    let point = if digits > 0 { "." } else { "" };
    format!("{whole}{point}{fraction} {}", money.currency)
}

/// The text with the five characters that mean something in HTML written as references, so that it stays text between tags
/// and in quoted attributes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_price(amount: i64, currency: &str, expected: &str) {
        assert_eq!(price(&Money { amount, currency: currency.into() }), expected);
    }

    #[test]
    fn a_price_has_the_decimal_places_of_its_currency() {
        check_price(1999, "USD", "19.99 USD");
        check_price(5, "EUR", "0.05 EUR");
        check_price(0, "USD", "0.00 USD");
        check_price(1999, "JPY", "1999 JPY");
        check_price(1999, "KWD", "1.999 KWD");
    }

    #[test]
    fn the_template_has_every_part() {
        for Part(begin, end) in [HEAD, BRAND, LINKS] {
            let (_, rest) = TEMPLATE.split_once(begin).unwrap();
            assert!(rest.contains(end), "{begin}");
        }
        assert!(
            TEMPLATE.contains(&format!("<title>{NAME_DEFAULT}</title>"))
                && TEMPLATE.contains(REGISTRATION_OPEN)
                && TEMPLATE.contains(DEMO_PAYMENTS_OFF)
        );
        assert!(TEMPLATE.contains(&format!("content=\"{NAME_DEFAULT}\"")));
    }

    #[test]
    fn a_shop_has_its_own_name_logo_and_links() {
        let shop = Shop {
            name: Some("Ampers & Sons \"<Ltd>\"".into()),
            logo_url: Some("https://shop.example/logo.svg?a&b".into()),
            color: None,
            links: vec![("Imprint <1>".into(), "https://shop.example/imprint?a=\"b\"".into())],
            demo_payments: true,
        };
        let page = Page::new(&shop, Registration::Closed, "build").text;
        for expected in [
            "<title>Ampers &amp; Sons &quot;&lt;Ltd&gt;&quot;</title>",
            "<img class=\"brand-logo\" src=\"https://shop.example/logo.svg?a&amp;b\" alt=\"\"><span dir=\"auto\">Ampers &amp; Sons",
            "<a href=\"https://shop.example/imprint?a=&quot;b&quot;\">Imprint &lt;1&gt;</a>",
            "src=\"/assets/build/main.js\"",
            REGISTRATION_CLOSED,
            DEMO_PAYMENTS_ON,
        ] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        assert!(
            !page.contains("<Ltd>") && !page.contains("brand-mark") && !page.contains(NAME_DEFAULT),
            "{page}"
        );
    }
}
