use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, source) in files {
        std::fs::write(folder.path().join(name), source).unwrap();
    }
    folder
}

fn load(files: &[(&str, &str)]) -> Templates {
    Templates::load(folder(files).path()).unwrap()
}

fn wrong(files: &[(&str, &str)]) -> Vec<String> {
    let wrong = Templates::load(folder(files).path()).unwrap_err();
    wrong.into_iter().map(|(message, _)| message).collect()
}

fn render(templates: &Templates, name: &str, data: &Value) -> Result<Rendered, Vec<String>> {
    let rendered = templates.render(name, data.as_object().unwrap());
    rendered.map_err(|wrong| wrong.iter().map(ToString::to_string).collect())
}

#[test]
fn a_template_is_its_files_and_html_alone_is_escaped() {
    let templates = load(&[
        ("receipt.subject", "Receipt for {{ order.number }}\n"),
        (
            "receipt.txt",
            "Dear {{ name }},\n{% for item in items %}\n{{ item.count }} x {{ item.what }}\n{% endfor %}\nThanks\n",
        ),
        ("receipt.html", "<p>{{ name }}</p>"),
        ("plain.txt", "hello"),
        (
            "_layout.html",
            "<html>{% block body %}{% endblock %}</html>",
        ),
        (
            "laid.html",
            "{% extends '_layout.html' %}{% block body %}{{ x }}{% endblock %}",
        ),
        (".swp", "{{ unfinished"),
        ("plain.txt~", "{{ unfinished"),
    ]);
    let data = json!({
        "name": "Zoë <b>", "order": {"number": 7}, "items": [{"count": 2, "what": "tea"}, {"count": 1, "what": "pot"}],
    });
    let rendered = render(&templates, "receipt", &data).unwrap();
    assert_eq!(
        rendered,
        Rendered {
            subject: Some("Receipt for 7".to_owned()),
            text: Some("Dear Zoë <b>,\n2 x tea\n1 x pot\nThanks".to_owned()),
            html: Some("<p>Zoë &lt;b&gt;</p>".to_owned()),
        }
    );
    let plain = render(&templates, "plain", &json!({})).unwrap();
    assert_eq!(
        (plain.subject, plain.text.as_deref(), plain.html),
        (None, Some("hello"), None)
    );
    let laid = render(&templates, "laid", &json!({"x": "&"})).unwrap();
    assert_eq!(laid.html.as_deref(), Some("<html>&amp;</html>"));
    assert!(!templates.knows("_layout"));
}

/// An included file is part of what includes it, whatever its own ending says.
#[test]
fn what_the_html_part_includes_is_escaped_and_what_the_text_part_includes_is_not() {
    let templates = load(&[
        ("a.subject", "{% include '_name.html' %}"),
        (
            "a.txt",
            "{% include '_name.html' %} {% include '_name.txt' %}",
        ),
        (
            "a.html",
            "{% include '_name.html' %} {% include '_name.txt' %}",
        ),
        (
            "b.txt",
            "{% extends '_frame.html' %}{% block x %}{{ name }}{% endblock %}",
        ),
        (
            "b.html",
            "{% extends '_frame.txt' %}{% block x %}{{ name }}{% endblock %}",
        ),
        (
            "c.txt",
            "{% from '_macro.html' import hello %}{{ hello(name) }}",
        ),
        (
            "c.html",
            "{% from '_macro.txt' import hello %}{{ hello(name) }}",
        ),
        ("_name.html", "{{ name }}"),
        ("_name.txt", "{{ name }}"),
        ("_frame.html", "{{ name }}{% block x %}{% endblock %}"),
        ("_frame.txt", "{{ name }}{% block x %}{% endblock %}"),
        (
            "_macro.html",
            "{% macro hello(who) %}{{ who }}{% endmacro %}",
        ),
        (
            "_macro.txt",
            "{% macro hello(who) %}{{ who }}{% endmacro %}",
        ),
    ]);
    let data = json!({"name": "<b>&"});
    let made = |name: &str| render(&templates, name, &data).unwrap();
    let (raw, escaped) = ("<b>&", "&lt;b&gt;&amp;");
    assert_eq!(made("a").subject.as_deref(), Some(raw));
    for (name, text, html) in [
        ("a", format!("{raw} {raw}"), format!("{escaped} {escaped}")),
        ("b", raw.repeat(2), escaped.repeat(2)),
        ("c", raw.to_owned(), escaped.to_owned()),
    ] {
        let made = made(name);
        assert_eq!((made.text, made.html), (Some(text), Some(html)), "{name}");
    }
}

#[test]
fn plain_values_are_printed_and_null_is_nothing() {
    let templates = load(&[(
        "n.txt",
        "{{ a }} {{ b }} {{ c }} {{ e|length }} {{ f|default('-') }}",
    )]);
    let data = json!({"a": -3, "b": u64::MAX, "c": 1.5, "e": [1, 2], "f": null});
    let text = render(&templates, "n", &data).unwrap().text;
    assert_eq!(text.as_deref(), Some("-3 18446744073709551615 1.5 2 -"));
}

#[test]
fn everything_that_is_missing_is_named_by_its_pointer() {
    let templates = load(&[
        ("a.subject", "{{ subject }}"),
        (
            "a.txt",
            "{{ user.name }}\n{{ user['e/mail'] }}\n{% if paid %}yes{% endif %}\n{{ items[2] }}\n{{ nickname|default('you') }}\n{{ range(2)|length }}{% for x in list %}{{ x.y }}{% endfor %}",
        ),
        ("a.html", "{% include '_inner.html' %}"),
        ("_inner.html", "{{ inner }}"),
    ]);
    let data = json!({"user": {}, "items": [1]});
    assert_eq!(
        render(&templates, "a", &data).unwrap_err(),
        [
            "/data/subject: a.subject:1 needs it",
            "/data/user/name: a.txt:1 needs it",
            "/data/user/e~1mail: a.txt:2 needs it",
            "/data/paid: a.txt:3 needs it",
            "/data/items/2: a.txt:4 needs it",
            "/data/list: a.txt:6 needs it",
            "/data/inner: _inner.html:1 needs it",
        ]
    );
    // What is there, but is no object.
    let templates = load(&[("b.txt", "{{ user.name }}{{ nobody.name }}")]);
    assert_eq!(
        render(&templates, "b", &json!({"user": "Ada"})).unwrap_err(),
        ["/data/user: b.txt:1 needs it",]
    );
}

#[test]
fn null_in_a_list_is_missing_too() {
    let templates = load(&[
        ("at.txt", "{{ names[0] }}"),
        ("each.txt", "{% for name in names %}{{ name }},{% endfor %}"),
        ("join.txt", "{{ names|join(',') }}"),
        ("first.txt", "{{ names|first }}"),
        (
            "default.txt",
            "{{ names[0]|default('-') }}{{ names[1] }} of {{ names|length }}",
        ),
    ]);
    let data = json!({"names": [null, "Ada"]});
    for (name, pointer) in [
        ("at", "/data/names/0"),
        ("each", "/data/names"),
        ("first", "/data/names"),
    ] {
        let wrong = render(&templates, name, &data).unwrap_err();
        assert_eq!(wrong, [format!("{pointer}: {name}.txt:1 needs it")]);
    }
    let joined = render(&templates, "join", &data).unwrap().text;
    assert_eq!(joined.as_deref(), Some(",Ada"));
    let given = render(&templates, "default", &data).unwrap().text;
    assert_eq!(given.as_deref(), Some("-Ada of 2"));
}

/// The engine has functions, which templates call by names that data may have too.
#[test]
fn a_missing_name_that_a_function_has_prints_no_function() {
    let templates = load(&[
        ("below.txt", "{{ price.range }}"),
        ("range.txt", "{{ range }}"),
        ("dict.html", "{{ dict }}"),
        ("calls.txt", "{{ range(2)|join(',') }} {{ dict(a=1).a }}"),
    ]);
    let missing = |name: &str| render(&templates, name, &json!({"price": {}})).unwrap_err();
    assert_eq!(
        missing("below"),
        ["/data/price/range: below.txt:1 needs it"]
    );
    for (name, file) in [("range", "range.txt"), ("dict", "dict.html")] {
        let said = format!(
            "/data: {file}:1: invalid operation: prints a function; is a value of its name missing in the data?"
        );
        assert_eq!(missing(name), [said]);
    }
    let given = json!({"range": "5 km", "dict": "D", "price": {"range": "1-2"}});
    let text = |name: &str| render(&templates, name, &given).unwrap();
    assert_eq!(text("range").text.as_deref(), Some("5 km"));
    assert_eq!(text("dict").html.as_deref(), Some("D"));
    assert_eq!(text("below").text.as_deref(), Some("1-2"));
    let called = render(&templates, "calls", &json!({})).unwrap();
    assert_eq!(called.text.as_deref(), Some("0,1 1"));
}

#[test]
fn an_unknown_template_is_refused() {
    let templates = load(&[("receipt.txt", "x"), ("welcome.txt", "x")]);
    let unknown = |name: &str| render(&templates, name, &json!({})).unwrap_err();
    assert_eq!(
        unknown("reciept"),
        ["/template: no template `reciept`; did you mean `receipt`?"]
    );
    assert_eq!(
        unknown("../../etc/passwd"),
        ["/template: no template `../../etc/passwd`; there are: receipt, welcome"]
    );
    let none = render(&Templates::default(), "receipt", &json!({}));
    assert_eq!(
        none.unwrap_err(),
        ["/template: there are no templates here: MAIL_TEMPLATES is not set"]
    );
}

#[test]
fn what_is_wrong_with_a_folder_is_told_at_once_by_file_and_line() {
    let found = wrong(&[
        ("a.txt", "fine\n{{ unfinished"),
        ("b.html", "{% for x in %}{% endfor %}"),
        ("c.subject", "no body"),
        ("d.htm", ""),
        ("e e.txt", ""),
        ("README", ""),
    ]);
    let beginnings = [
        "README: no part of a template",
        "a.txt:2: syntax error: ",
        "b.html:1: syntax error: ",
        "d.htm: no part of a template",
        "e e.txt: no part of a template",
        "c.subject has no body",
    ];
    assert_eq!(found.len(), beginnings.len(), "{found:?}");
    for (found, beginning) in found.iter().zip(beginnings) {
        assert!(found.starts_with(beginning), "{found}");
    }
    assert!(Templates::load(std::path::Path::new("/nonexistent")).is_err());
    let nested = tempfile::tempdir().unwrap();
    std::fs::create_dir(nested.path().join("x.txt")).unwrap();
    assert!(Templates::load(nested.path()).is_err());
}

/// Who sends what a dear template misses must not have it filled in twenty times over.
#[test]
fn looking_for_what_else_is_missing_has_little_fuel() {
    let templates = load(&[
        (
            "dear.txt",
            "{% for x in range(40000) %}{% endfor %}{{ a }}{{ b }}",
        ),
        (
            "cheap.txt",
            "{% for x in range(40) %}{% endfor %}{{ a }}{{ b }}",
        ),
    ]);
    let missing = |name: &str| render(&templates, name, &json!({})).unwrap_err();
    assert_eq!(missing("dear"), ["/data/a: dear.txt:1 needs it"]);
    assert_eq!(missing("cheap").len(), 2);
}

#[test]
fn no_template_runs_or_prints_for_ever() {
    let templates = load(&[
        (
            "steps.txt",
            "{% for x in range(100000) %}{% for y in range(100000) %}{% endfor %}{% endfor %}",
        ),
        ("long.txt", "{{ 'x' * 2000000 }}"),
        ("deep.txt", "{% include 'deep.txt' %}"),
        ("filter.txt", "{{ 'x'|uper }}"),
        ("absent.txt", "{% include '_absent.txt' %}"),
        ("type.txt", "{{ n|join(1, 2, 3) }}"),
        ("sum.txt", "{{ n + 's' }}"),
    ]);
    for (name, beginning) in [
        ("steps", "/data: steps.txt:1: takes too many steps"),
        ("long", "/data: long.txt: prints more than 1048576 bytes"),
        ("deep", "/data: deep.txt:1: "),
        ("filter", "/template: filter.txt:1: unknown filter"),
        ("absent", "/template: absent.txt:1: "),
        ("type", "/data: type.txt:1: invalid operation"),
        ("sum", "/data: sum.txt:1: invalid operation"),
    ] {
        let wrong = render(&templates, name, &json!({"n": [1]})).unwrap_err();
        assert_eq!(wrong.len(), 1, "{name}: {wrong:?}");
        assert!(wrong[0].starts_with(beginning), "{name}: {wrong:?}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map("[a-d]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the template and the data: an answer.
    #[test]
    fn no_template_and_no_data_panic(source in "(\\{\\{ [a-d](\\.[a-d]|\\[[0-9]\\])?(\\|(upper|length|join|sort|default\\(1\\)|first|int))? \\}\\}|\\{% if [a-d] %\\}x\\{% endif %\\}|\\{% for i in [a-d] %\\}\\{\\{ i.a \\}\\}\\{% endfor %\\}|\\PC){0,6}", a in any_json(), b in any_json()) {
        let folder = folder(&[("t.txt", &source), ("u.html", &source)]);
        if let Ok(templates) = Templates::load(folder.path()) {
            let data = json!({"a": a, "b": b});
            for name in ["t", "u"] {
                if let Err(wrong) = templates.render(name, data.as_object().unwrap()) {
                    prop_assert!(!wrong.is_empty());
                    prop_assert!(wrong.iter().all(|w| w.pointer == "/template" || w.pointer.starts_with("/data")));
                }
            }
        }
    }
}
