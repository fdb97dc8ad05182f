//! The table of faults is what the fault tests made of it: each has its row, each row its test,
//! nobody has changed a figure by hand, and no row shows a loss.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use syn::visit::{self, Visit};

const SUITES: [&str; 4] = ["faults", "payment", "inventory", "order"];
const DOC: &str = "docs/faults.md";
const BEGIN: &str = "<!-- made by tests/run --faults-table; sha256 ";
const END: &str = "<!-- end of what is made -->";
/// Columns that hold 0: lost, run twice, attempts burned.
const ZERO: [usize; 3] = [2, 3, 5];

/// Of a test, by `suite::module::name`: the words of its fault, if it is one of a fault.
type Tests = BTreeMap<String, Option<String>>;

#[derive(Default)]
struct Finder {
    module: String,
    tests: Tests,
    at: Option<String>,
}

impl<'a> Visit<'a> for Finder {
    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        let is_test = |attribute: &syn::Attribute| {
            let last = attribute.path().segments.last();
            last.is_some_and(|segment| segment.ident == "test")
        };
        if item.attrs.iter().any(is_test) {
            let name = format!("{}::{}", self.module, item.sig.ident);
            self.tests.insert(name.clone(), None);
            self.at = Some(name);
        }
        visit::visit_item_fn(self, item);
        self.at = None;
    }

    fn visit_macro(&mut self, mac: &'a syn::Macro) {
        if mac.path.is_ident("fault") {
            let words: syn::LitStr = mac.parse_body().expect("fault!(\"words\")");
            let test = self.at.clone().expect("fault! stands in its test");
            self.tests.insert(test, Some(words.value()));
        }
    }
}

fn tests() -> Tests {
    let mut finder = Finder::default();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for suite in SUITES {
        for entry in fs::read_dir(root.join(suite)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "rs") {
                let module = path.file_stem().unwrap().to_string_lossy();
                finder.module = format!("{suite}::{module}");
                let text = fs::read_to_string(&path).unwrap();
                finder.visit_file(&syn::parse_file(&text).unwrap());
            }
        }
    }
    finder.tests
}

fn doc() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(DOC)).unwrap()
}

/// What is made, and the digest that stands above it.
fn made(doc: &str) -> Option<(&str, &str)> {
    let (_, rest) = doc.split_once(BEGIN)?;
    let (digest, rest) = rest.split_once(" -->\n")?;
    Some((rest.split_once(END)?.0, digest))
}

fn digest(text: &str) -> String {
    let bytes = Sha256::digest(text.as_bytes());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The test that a cell links to: ``[`name`](../tests/suite/module.rs)``.
fn linked(cell: &str) -> Option<String> {
    let (name, path) = cell.strip_prefix("[`")?.split_once("`](../tests/")?;
    let path = path.strip_suffix(".rs)")?.replace('/', "::");
    Some(format!("{path}::{name}"))
}

/// Everything that is wrong with the document.
fn complaints(doc: &str, tests: &Tests) -> Vec<String> {
    let Some((table, said)) = made(doc) else {
        return vec!["there is no table between its marks".to_owned()];
    };
    let mut found = Vec::new();
    if digest(table) != said {
        found.push("the table was changed by hand: make it with tests/run".to_owned());
    }
    let mut shown = BTreeSet::new();
    for row in table.lines().filter(|line| line.contains("](../tests/")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let Some(test) = cells.last().and_then(|cell| linked(cell)) else {
            found.push(format!("no test: {row}"));
            continue;
        };
        if tests.get(&test) != Some(&Some(cells[0].to_owned())) {
            found.push(format!("{test} is no test of {:?}", cells[0]));
        }
        if ZERO.iter().any(|column| cells.get(*column) != Some(&"0")) {
            found.push(format!("{test} cost something: {row}"));
        }
        if !shown.insert(test.clone()) {
            found.push(format!("{test} has two rows"));
        }
    }
    for (test, words) in tests {
        let row = shown.contains(test);
        if words.is_some() && !row {
            found.push(format!(
                "{test} has no row: run tests/run --faults-table 1 {}",
                test.rsplit("::").next().unwrap()
            ));
        }
        // What has no figures is named in the text, with the reason.
        let name = test.rsplit("::").next().unwrap();
        let named = doc.replace(table, "").contains(&format!("`{name}`"));
        if test.starts_with("faults::") && words.is_none() && !named {
            found.push(format!(
                "{test} hands nothing in, and {DOC} does not say why"
            ));
        }
    }
    found
}

#[test]
fn every_fault_has_its_row_and_no_row_shows_a_loss() {
    let found = complaints(&doc(), &tests());
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// The document with its table changed, and the digest that belongs to it.
fn with_table(doc: &str, change: impl Fn(&str) -> String) -> String {
    let (table, said) = made(doc).unwrap();
    let changed = change(table);
    assert_ne!(changed, table);
    let with = doc.replace(table, &changed);
    with.replace(said, &digest(&changed))
}

#[test]
fn a_table_that_does_not_tell_the_truth_is_seen() {
    let (doc, tests) = (doc(), tests());
    let (table, _) = made(&doc).unwrap();
    let row = table.lines().find(|line| line.contains("](../tests/"));
    let row = row.unwrap();
    let cell = |column: usize, value: &str| {
        let mut cells: Vec<String> = row.split('|').map(str::to_owned).collect();
        cells[column + 1] = format!(" {value} ");
        cells.join("|")
    };
    let told = |doc: &str| complaints(doc, &tests).join("; ");
    for column in ZERO {
        let lossy = with_table(&doc, |table| table.replace(row, &cell(column, "1")));
        assert!(told(&lossy).contains("cost something"), "column {column}");
    }
    let other = with_table(&doc, |table| table.replace(row, &cell(0, "Nothing at all")));
    assert!(told(&other).contains("is no test of"));
    let fewer = with_table(&doc, |table| table.replace(&format!("{row}\n"), ""));
    assert!(told(&fewer).contains("has no row"));
    let double = with_table(&doc, |table| table.replace(row, &format!("{row}\n{row}")));
    assert!(told(&double).contains("has two rows"));
    // By hand, with what was signed left as it was.
    let falsified = doc.replace(row, &cell(1, "1000000"));
    assert!(told(&falsified).contains("changed by hand"));
    assert!(told("").contains("no table"));
    let mut more = tests.clone();
    more.insert("faults::new::a_test_without_a_record".to_owned(), None);
    assert!(complaints(&doc, &more)[0].contains("hands nothing in"));
}
