use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A path that a file mentions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    pub line: usize,
    /// `crate`, `self` and `super` resolved: then it begins with `crate`. Else as written.
    pub segments: Vec<String>,
}

/// Every path of at least two segments in `text`, and every single name that is imported.
///
/// `module` is the file's own place, without `crate`. Names of modules that the file declares
/// itself are left out: they shadow crates.
pub fn mentions(text: &str, module: &[String]) -> Vec<Mention> {
    let tokens: TokenStream = text.parse().expect("Rust");
    let mut scan = Scan::default();
    let here = std::iter::once("crate".to_owned())
        .chain(module.iter().cloned())
        .collect();
    scan.stream(
        tokens,
        &Place {
            module: here,
            prefix: None,
        },
    );
    let declared = scan.declared;
    scan.found
        .into_iter()
        .filter(|mention| {
            mention
                .segments
                .first()
                .is_none_or(|first| !declared.contains(first))
        })
        .collect()
}

#[derive(Default)]
struct Scan {
    found: Vec<Mention>,
    declared: BTreeSet<String>,
}

/// Where the scan is.
#[derive(Clone)]
struct Place {
    module: Vec<String>,
    /// Inside a `use`: what stands before the braces.
    prefix: Option<Vec<String>>,
}

impl Scan {
    fn stream(&mut self, tokens: TokenStream, place: &Place) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut importing = place.prefix.is_some();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at = match token {
                TokenTree::Ident(word) if word == "use" => {
                    // `use<'a>` in a type imports nothing.
                    importing = !is_punct(&tokens, at + 1, '<');
                    at + 1
                }
                TokenTree::Punct(punct) if punct.as_char() == ';' => {
                    importing = place.prefix.is_some();
                    at + 1
                }
                TokenTree::Ident(word) if word == "mod" => self.module(&tokens, at, place),
                // `extern crate name`, `x as name`: the next word is no path.
                TokenTree::Ident(word) if word == "extern" && is_word(&tokens, at + 1, "crate") => {
                    importing = true;
                    at + 2
                }
                TokenTree::Ident(word) if word == "as" && importing => at + 2,
                TokenTree::Ident(_) => self.path(&tokens, at, importing, place),
                TokenTree::Punct(punct) if punct.as_char() == '*' && importing => {
                    self.note(punct.span().start().line, &["*".to_owned()], place);
                    at + 1
                }
                TokenTree::Group(group) => {
                    // `use {a, b}` has braces without a path in front.
                    let prefix = (importing && group.delimiter() == Delimiter::Brace)
                        .then(|| place.prefix.clone().unwrap_or_default());
                    self.inside(group, place, prefix);
                    at + 1
                }
                _ => at + 1,
            };
        }
    }

    fn inside(&mut self, group: &Group, place: &Place, prefix: Option<Vec<String>>) {
        let place = Place {
            module: place.module.clone(),
            prefix,
        };
        self.stream(group.stream(), &place);
    }

    /// `mod name;` or `mod name { … }`.
    fn module(&mut self, tokens: &[TokenTree], at: usize, place: &Place) -> usize {
        let Some(TokenTree::Ident(name)) = tokens.get(at + 1) else {
            return at + 1;
        };
        self.declared.insert(name.to_string());
        if let Some(TokenTree::Group(body)) = tokens.get(at + 2) {
            let mut module = place.module.clone();
            module.push(name.to_string());
            self.stream(
                body.stream(),
                &Place {
                    module,
                    prefix: None,
                },
            );
            return at + 3;
        }
        at + 2
    }

    /// `name::name::…`, and what may follow: a `*` or braces, inside a `use`.
    fn path(&mut self, tokens: &[TokenTree], at: usize, importing: bool, place: &Place) -> usize {
        let mut segments = Vec::new();
        let mut next = at;
        while let Some(TokenTree::Ident(word)) = tokens.get(next) {
            segments.push(word.to_string());
            next += 1;
            if !is_colons(tokens, next) {
                break;
            }
            next += 2;
        }
        let line = tokens[at].span().start().line;
        let open = is_colons(tokens, next.saturating_sub(2)) && next > at + 1;
        match tokens.get(next) {
            Some(TokenTree::Group(group)) if importing && open => {
                let mut prefix = place.prefix.clone().unwrap_or_default();
                prefix.extend(segments);
                self.inside(group, place, Some(prefix));
                return next + 1;
            }
            Some(TokenTree::Punct(star)) if importing && open && star.as_char() == '*' => {
                segments.push("*".into());
                next += 1;
            }
            _ => {}
        }
        if importing || segments.len() > 1 {
            self.note(line, &segments, place);
        }
        next
    }

    fn note(&mut self, line: usize, segments: &[String], place: &Place) {
        let mut path = place.prefix.clone().unwrap_or_default();
        path.extend_from_slice(segments);
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        self.found.push(Mention {
            line,
            segments: resolve(&path, &place.module),
        });
    }
}

/// `super` and `self` in front, replaced by the module they mean.
fn resolve(path: &[String], module: &[String]) -> Vec<String> {
    let mut base = match path.first().map(String::as_str) {
        Some("self" | "super") => module.to_vec(),
        _ => return path.to_vec(),
    };
    let mut rest = path;
    while let Some((first, others)) = rest.split_first() {
        match first.as_str() {
            "super" => drop(base.pop()),
            "self" => {}
            _ => break,
        }
        rest = others;
    }
    base.extend_from_slice(rest);
    base
}

fn is_word(tokens: &[TokenTree], at: usize, expected: &str) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Ident(word)) if word == expected)
}

fn is_punct(tokens: &[TokenTree], at: usize, expected: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == expected)
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens, at, ':') && is_punct(tokens, at + 1, ':')
}
