//! The modules that every visitor needs, as one file. A browser asks for six files at a time, and on a phone's network each
//! round takes half a second.
//!
//! This knows just the JavaScript of `web/`, which its tests check: an import stands on one line, names what it takes or takes
//! all of it (`* as`), and no import leads in a circle; an export stands before a declaration and is never assigned again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The module that the page starts with; the bundle has its name.
pub const START: &str = "main.js";

/// The scripts as they are served, by their names.
///
/// `modules` are the sources. `START` becomes a file with all that it imports. What is imported only when it is needed
/// (`import(...)`) stays a file of its own, and takes what is in the bundle from there.
pub fn scripts(modules: &BTreeMap<&str, &str>) -> BTreeMap<String, String> {
    let mut order = Vec::new();
    collect(START, modules, &mut BTreeSet::new(), &mut order);
    let mut bundle = String::new();
    for name in &order {
        let (body, exports) = inside(name, modules[name.as_str()], &order);
        let place = variable(name, &order).unwrap_or_default();
        let _ =
            write!(bundle, "const {place} = (() => {{\n{body}return {{ {} }};\n}})();\n", exports.join(", "));
    }
    let all: Vec<_> = order.iter().filter_map(|name| variable(name, &order)).collect();
    let _ = writeln!(bundle, "export {{ {} }};", all.join(", "));
    let others = modules.iter().filter(|(name, _)| !order.iter().any(|bundled| bundled == *name));
    let others = others.map(|(name, source)| ((*name).to_owned(), outside(name, source, &order)));
    others.chain([(START.to_owned(), bundle)]).collect()
}

/// Lists `name` after all that it imports, and nothing twice.
fn collect(
    name: &str,
    modules: &BTreeMap<&str, &str>,
    begun: &mut BTreeSet<String>,
    order: &mut Vec<String>,
) {
    let Some(source) = modules.get(name).filter(|_| begun.insert(name.to_owned())) else { return };
    for import in source.lines().filter_map(Import::of) {
        collect(&resolved(name, import.path), modules, begun, order);
    }
    order.push(name.to_owned());
}

/// A module's code for the bundle, and the names that it exports.
fn inside(name: &str, source: &str, order: &[String]) -> (String, Vec<String>) {
    let (mut body, mut exports) = (String::new(), Vec::new());
    for line in code(source) {
        if let Some(import) = Import::of(line) {
            let place = variable(&resolved(name, import.path), order).unwrap_or_default();
            body += &import.taken_from(&place);
        } else if let Some(declaration) = line.strip_prefix("export ") {
            exports.extend(declared(declaration));
            body += declaration;
        } else {
            body += line;
        }
        body.push('\n');
    }
    (body, exports)
}

/// The code of a module beside the bundle.
fn outside(name: &str, source: &str, order: &[String]) -> String {
    let mut body = String::new();
    let up = "../".repeat(name.matches('/').count());
    let up = if up.is_empty() { "./" } else { &up };
    for line in code(source) {
        let bundled = Import::of(line).and_then(|import| {
            let place = variable(&resolved(name, import.path), order)?;
            Some(format!("import {{ {place} }} from '{up}{START}'; {}", import.taken_from(&place)))
        });
        body += bundled.as_deref().unwrap_or(line);
        body.push('\n');
    }
    body
}

/// The lines that are more than a comment.
fn code(source: &str) -> impl Iterator<Item = &str> {
    source.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// `import TAKEN from 'PATH';`
struct Import<'a> {
    taken: &'a str,
    path: &'a str,
}

impl<'a> Import<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let (taken, path) = line.strip_prefix("import ")?.split_once(" from '")?;
        Some(Self { taken, path: path.strip_suffix("';")? })
    }

    /// The same from the object that has the module's exports.
    fn taken_from(&self, object: &str) -> String {
        match self.taken.strip_prefix("* as ") {
            Some(name) => format!("const {name} = {object};"),
            None => format!("const {} = {object};", self.taken.replace(" as ", ": ")),
        }
    }
}

/// What a module calls `path`, as a name in `web/`.
fn resolved(name: &str, path: &str) -> String {
    let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
    match (path.strip_prefix("../"), path.strip_prefix("./")) {
        (Some(above), _) => above.to_owned(),
        (_, Some(beside)) if directory.is_empty() => beside.to_owned(),
        (_, beside) => format!("{directory}/{}", beside.unwrap_or(path)),
    }
}

/// The object in the bundle that has a module's exports.
fn variable(name: &str, order: &[String]) -> Option<String> {
    Some(format!("${}", order.iter().position(|bundled| bundled == name)?))
}

/// The name in `async function name(`, `function name(`, `const name =` or `class name`.
fn declared(declaration: &str) -> Option<String> {
    let words = declaration.strip_prefix("async ").unwrap_or(declaration);
    let (_, name) = words.split_once(' ')?;
    let is_part = |character: char| character.is_alphanumeric() || character == '_' || character == '$';
    Some(name.chars().take_while(|character| is_part(*character)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(modules: &[(&'static str, &'static str)]) -> BTreeMap<String, String> {
        scripts(&modules.iter().copied().collect())
    }

    #[test]
    fn a_module_comes_after_what_it_imports_and_once() {
        let found = of(&[
            ("main.js", "import * as a from './a.js';\nimport { B as C } from './parts/b.js';\na.go(C);\n"),
            ("a.js", "// What it does.\nexport function go(x) {\n  return x;\n}\n"),
            ("parts/b.js", "import { go } from '../a.js';\nexport const B = go(1);\nexport class D {}\n"),
        ]);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["main.js"]);
        let expected = "const $0 = (() => {\nfunction go(x) {\n  return x;\n}\nreturn { go };\n})();\n\
            const $1 = (() => {\nconst { go } = $0;\nconst B = go(1);\nclass D {}\nreturn { B, D };\n})();\n\
            const $2 = (() => {\nconst a = $0;\nconst { B: C } = $1;\na.go(C);\nreturn {  };\n})();\n\
            export { $0, $1, $2 };\n";
        assert_eq!(found["main.js"], expected);
    }

    #[test]
    fn a_module_that_is_loaded_later_takes_from_the_bundle() {
        let found = of(&[
            ("main.js", "import { go } from './a.js';\ngo(() => import('./views/late.js'));\n"),
            ("a.js", "export async function go(fn) {}\n"),
            (
                "views/late.js",
                "import { go } from '../a.js';\nimport { x } from './more.js';\nexport const late = go(x);\n",
            ),
            ("views/more.js", "export const x = 1;\n"),
        ]);
        assert_eq!(found["views/more.js"], "export const x = 1;\n");
        let expected = "import { $0 } from '../main.js'; const { go } = $0;\nimport { x } from './more.js';\nexport const late = go(x);\n";
        assert_eq!(found["views/late.js"], expected);
    }
}
