//! How the storefront of this shop looks: its name, its logo, its colour, the links in its footer, and what it shows for a
//! demonstration.

use std::str::FromStr;

use url::Url;

use super::{Reader, listed};

const NAME_CHARACTERS_MAX: usize = 80;
const LINKS_MAX: usize = 10;

/// What a shop may change of the storefront; without any of it the pages look as they are in `web/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shop {
    /// `SHOP_NAME`: 1 to 80 characters.
    pub name: Option<String>,
    /// `SHOP_LOGO_URL`: a picture, shown in place of ours.
    pub logo_url: Option<String>,
    /// `SHOP_COLOR`: of buttons, links and marks.
    pub color: Option<Color>,
    /// `SHOP_LINKS`: texts and addresses, in their order.
    pub links: Vec<(String, String)>,
    /// `DEMO_PAYMENTS`: whether admins see a button that marks a purchase as paid. It gives them no right: they may confirm
    /// purchases anyway.
    pub demo_payments: bool,
}

/// A colour: the red, green and blue of sRGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Color(pub [u8; 3]);

impl FromStr for Color {
    type Err = ();

    /// `#b93006`
    fn from_str(text: &str) -> Result<Self, ()> {
        let digits =
            text.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.is_ascii()).ok_or(())?;
        let value = u32::from_str_radix(digits, 16).map_err(drop)?;
        let [_, red, green, blue] = value.to_be_bytes();
        Ok(Self([red, green, blue]))
    }
}

impl Reader<'_> {
    pub(super) fn shop(&mut self) -> Shop {
        let name = self.text("SHOP_NAME").map(str::to_owned);
        if name.as_ref().is_some_and(|name| name.chars().count() > NAME_CHARACTERS_MAX) {
            self.problem(format!("SHOP_NAME has more than {NAME_CHARACTERS_MAX} characters"));
        }
        let logo_url = self.text("SHOP_LOGO_URL").map(str::to_owned);
        if let Some(url) = logo_url.as_deref().filter(|url| !is_web_address(url)) {
            self.problem(format!(
                "SHOP_LOGO_URL is `{url}`, which is not like https://shop.example/logo.svg"
            ));
        }
        let color = self.parsed("SHOP_COLOR", "a colour like `#b93006`");
        Shop { name, logo_url, color, links: self.shop_links(), demo_payments: self.demo_payments() }
    }

    fn demo_payments(&mut self) -> bool {
        match self.text("DEMO_PAYMENTS") {
            None | Some("off") => false,
            Some("on") => true,
            Some(other) => {
                self.problem(format!("DEMO_PAYMENTS is `{other}`, but it has to be `on` or `off`"));
                false
            }
        }
    }

    fn shop_links(&mut self) -> Vec<(String, String)> {
        let mut links = Vec::new();
        for entry in listed(self.text("SHOP_LINKS").unwrap_or_default()) {
            match entry.split_once('=').map(|(text, address)| (text.trim(), address.trim())) {
                Some((text, address)) if !text.is_empty() && is_web_address(address) => {
                    links.push((text.to_owned(), address.to_owned()));
                }
                _ => self.problem(format!(
                    "SHOP_LINKS has `{entry}`, which is not like `Imprint=https://shop.example/imprint`"
                )),
            }
        }
        if links.len() > LINKS_MAX {
            self.problem(format!("SHOP_LINKS has more than {LINKS_MAX} links"));
        }
        links
    }
}

fn is_web_address(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}
