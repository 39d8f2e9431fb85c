//! The shop's colour as the styles need it: dark enough on the light page, light enough on the dark one, with softer and
//! stronger forms. Every pair of a text and its ground keeps the contrast that WCAG 1.4.3 asks for.

use crate::config::Color;

/// The ratio that text needs.
const CONTRAST_MIN: f64 = 4.5;
/// The darkest ground of the light page, and the lightest of the dark one, on which there is text in the shop's colour
/// (`--sunken` in `base.css`).
const LIGHT_GROUND: Color = Color([0xef, 0xea, 0xe0]);
const DARK_GROUND: Color = Color([0x2a, 0x25, 0x20]);
const WHITE: Color = Color([0xff; 3]);
const BLACK: Color = Color([0; 3]);
/// The text on a button of the dark page.
const DARK_TEXT: Color = Color([0x14, 0x11, 0x0e]);
/// How far each try moves a colour towards white or black.
const STEP: f64 = 0.04;

/// The colours of one scheme.
#[derive(Debug)]
struct Accent {
    accent: Color,
    strong: Color,
    soft: Color,
    on_accent: Color,
}

/// The style sheet in place of `theme.css`.
pub fn css(color: Color) -> String {
    let scheme = |Accent { accent, strong, soft, on_accent }: Accent| {
        format!(
            ":root {{ --accent: {}; --accent-strong: {}; --accent-soft: {}; --on-accent: {}; }}",
            hex(accent),
            hex(strong),
            hex(soft),
            hex(on_accent)
        )
    };
    format!(
        "{}\n@media (prefers-color-scheme: dark) {{\n  {}\n}}\n",
        scheme(light(color)),
        scheme(dark(color))
    )
}

fn light(color: Color) -> Accent {
    let accent = readable(color, LIGHT_GROUND, BLACK);
    Accent { accent, strong: mix(accent, BLACK, 0.2), soft: mix(accent, WHITE, 0.88), on_accent: WHITE }
}

fn dark(color: Color) -> Accent {
    let accent = readable(color, DARK_GROUND, WHITE);
    Accent {
        accent,
        strong: mix(accent, WHITE, 0.3),
        soft: mix(accent, DARK_TEXT, 0.82),
        on_accent: DARK_TEXT,
    }
}

/// The nearest colour on the way to `end` that can be read on `ground`.
fn readable(color: Color, ground: Color, end: Color) -> Color {
    let mut part = 0.0;
    loop {
        let mixed = mix(color, end, part);
        if part >= 1.0 || contrast(mixed, ground) >= CONTRAST_MIN {
            return mixed;
        }
        part += STEP;
    }
}

/// `part` of the way from `from` to `to`.
fn mix(Color(from): Color, Color(to): Color, part: f64) -> Color {
    let part = part.clamp(0.0, 1.0);
    let channel = |index: usize| {
        let (from, to) = (f64::from(from[index]), f64::from(to[index]));
        (from + (to - from) * part).round() as u8
    };
    Color([channel(0), channel(1), channel(2)])
}

/// WCAG 2.2's contrast ratio, 1 to 21.
fn contrast(one: Color, other: Color) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// WCAG 2.2's relative luminance, 0 to 1.
fn luminance(Color(channels): Color) -> f64 {
    let [red, green, blue] = channels.map(|channel| {
        let value = f64::from(channel) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

fn hex(Color([red, green, blue]): Color) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_color_can_be_read_in_both_schemes() {
        let steps = || (0..=255).step_by(15);
        for color in steps()
            .flat_map(|red| steps().flat_map(move |green| steps().map(move |blue| Color([red, green, blue]))))
        {
            for (scheme, ground) in [(light(color), LIGHT_GROUND), (dark(color), DARK_GROUND)] {
                for (text, ground) in [
                    (scheme.accent, ground),
                    (scheme.strong, ground),
                    (scheme.on_accent, scheme.accent),
                    (scheme.on_accent, scheme.strong),
                    (scheme.strong, scheme.soft),
                ] {
                    assert!(
                        contrast(text, ground) >= CONTRAST_MIN,
                        "{color:?}: {text:?} on {ground:?} of {scheme:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_color_that_can_be_read_stays() {
        let color = Color([0xb9, 0x30, 0x06]);
        assert_eq!(light(color).accent, color);
        assert!(css(color).starts_with(":root { --accent: #b93006; "));
    }
}
