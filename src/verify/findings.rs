//! What does not add up, and what could not be looked at.

use std::fmt::Write as _;

/// The most findings, and the most notes, that are printed.
const LINES_MAX: usize = 100;

/// The result of a verification.
#[derive(Debug, Default)]
pub struct Findings {
    found: Lines,
    notes: Lines,
    /// Products that were read.
    pub products: u64,
    /// Purchases that were read.
    pub purchases: u64,
    /// Buyers that were read, once for each product.
    pub buyers: u64,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    count: usize,
}

impl Lines {
    fn add(&mut self, line: String) {
        self.count += 1;
        if self.lines.len() < LINES_MAX {
            self.lines.push(line);
        }
    }

    fn append(&mut self, other: Self) {
        self.count += other.count;
        self.lines.extend(other.lines);
        self.lines.truncate(LINES_MAX);
    }

    fn write(&self, prefix: &str, text: &mut String) {
        for line in &self.lines {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{prefix}{line}");
        }
        if self.count > self.lines.len() {
            let _ = writeln!(text, "{prefix}and {} more", self.count - self.lines.len());
        }
    }
}

impl Findings {
    /// Something does not add up.
    pub fn wrong(&mut self, line: impl Into<String>) {
        self.found.add(line.into());
    }

    /// Something could not be looked at.
    pub fn note(&mut self, line: impl Into<String>) {
        self.notes.add(line.into());
    }

    /// Adds what was found in one part of the books.
    pub fn append(&mut self, other: Self) {
        self.found.append(other.found);
        self.notes.append(other.notes);
        self.products += other.products;
        self.purchases += other.purchases;
        self.buyers += other.buyers;
    }

    /// Whether everything adds up.
    pub fn is_fine(&self) -> bool {
        self.found.count == 0
    }

    /// The lines to print.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.found.write("", &mut text);
        self.notes.write("note: ", &mut text);
        let Self { products, purchases, buyers, .. } = self;
        let verdict = match self.found.count {
            0 => "everything adds up".to_owned(),
            1 => "1 thing does not add up".to_owned(),
            count => format!("{count} things do not add up"),
        };
        text + &format!(
            "{products} products, {purchases} purchases, {buyers} times a buyer of a product: {verdict}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_bounded_and_counted() {
        let mut findings = Findings::default();
        assert!(findings.is_fine() && findings.text().ends_with(": everything adds up"));
        for number in 0..150 {
            let mut part = Findings { purchases: 1, ..Findings::default() };
            part.wrong(format!("wrong {number}"));
            findings.append(part);
        }
        findings.note("skipped");
        let text = findings.text();
        assert_eq!(text.lines().count(), 103);
        assert!(text.contains("wrong 99\nand 50 more\nnote: skipped\n0 products, 150 purchases,"), "{text}");
        assert!(text.ends_with("150 things do not add up") && !findings.is_fine());
    }
}
