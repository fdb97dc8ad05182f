use serde_json::{Map, Number, Value};

/// The median of each figure in objects of the same shape; of what is no figure, the first. A
/// figure that some lack is the median of those that have it.
pub(super) fn median(all: &[&Value]) -> Value {
    let present: Vec<&Value> = all.iter().copied().filter(|v| !v.is_null()).collect();
    match present.first() {
        None => Value::Null,
        Some(Value::Object(first)) => Value::Object(fields(first, &present)),
        Some(Value::Number(_)) => middle(&present),
        Some(other) => (*other).clone(),
    }
}

fn fields(first: &Map<String, Value>, all: &[&Value]) -> Map<String, Value> {
    let of = |name: &String| {
        let same: Vec<&Value> = all.iter().filter_map(|object| object.get(name)).collect();
        median(&same)
    };
    first.keys().map(|name| (name.clone(), of(name))).collect()
}

/// Of an even number, halfway between the two in the middle.
fn middle(all: &[&Value]) -> Value {
    let mut figures: Vec<f64> = all.iter().filter_map(|v| v.as_f64()).collect();
    figures.sort_by(f64::total_cmp);
    let at = |place: usize| figures.get(place).copied().unwrap_or_default();
    let last = figures.len().saturating_sub(1);
    let middle = f64::midpoint(at(last / 2), at(last.div_ceil(2)));
    // Whole numbers stay whole: counts and bytes.
    match all.iter().all(|figure| figure.is_u64()) {
        true => Value::from(middle.round() as u64),
        false => Number::from_f64((middle * 1e4).round() / 1e4).map_or(Value::Null, Value::Number),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_figure_is_the_median_of_its_own() {
        let runs = [
            json!({"name": "x", "jobs": 10, "at_once": {"rate": 3.5}, "share": null, "no": null}),
            json!({"name": "x", "jobs": 30, "at_once": {"rate": 1.5}, "share": 0.5, "no": null}),
            json!({"name": "x", "jobs": 20, "at_once": {"rate": 2.5}, "share": 0.25, "no": null}),
        ];
        let all: Vec<&Value> = runs.iter().collect();
        let wanted =
            json!({"name": "x", "jobs": 20, "at_once": {"rate": 2.5}, "share": 0.375, "no": null});
        assert_eq!(median(&all), wanted);
        assert_eq!(median(&all[..1]), runs[0]);
        assert_eq!(median(&all[..2])["jobs"], 20, "whole");
        assert_eq!(median(&[]), Value::Null);
    }
}
