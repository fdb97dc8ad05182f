use super::error::Problem;

/// Longest text that is compared: the comparison takes time and room by the product of both
/// lengths.
const MAX_COMPARED: usize = 64;

/// The one of `known` that was most likely meant: at most a third of its letters differ.
#[must_use]
pub fn closest<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    if text.len() > MAX_COMPARED {
        return None;
    }
    known
        .iter()
        .map(|&name| (strsim::damerau_levenshtein(text, name), name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .min()
        .map(|(_, name)| name)
}

/// `a`, `b` and `c`, quoted, for a message.
pub(super) fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// A value that is not one of a few words.
pub(super) fn not_one_of(text: &str, known: &[&str]) -> Problem {
    let fix = match closest(text, known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known are {}", listed(known)),
    };
    Problem::new(format!("`{text}` is not known"), fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_word() {
        let known = ["concurrency", "prefetch", "retry", "retention"];
        assert_eq!(closest("concurency", &known), Some("concurrency"));
        assert_eq!(closest("rerty", &known), Some("retry"));
        assert_eq!(closest("colour", &known), None);
        assert_eq!(closest("", &known), None);
        assert_eq!(closest(&"retry".repeat(1_000), &known), None);
    }

    #[test]
    fn words_are_listed_for_a_sentence() {
        assert_eq!(listed(&[]), "");
        assert_eq!(listed(&["a"]), "`a`");
        assert_eq!(listed(&["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
