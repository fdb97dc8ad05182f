use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};

/// Spaces between two columns.
const GAP: u16 = 2;

/// A table for people: a header and no lines. Rows are as long as they must be: what cannot be
/// cut (ids, times) would only be torn by wrapping.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = list();
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    table
}

/// The same without a header.
pub(super) fn list() -> Table {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// The table as text, without trailing spaces.
pub(super) fn text(table: &mut Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    table.trim_fmt()
}
