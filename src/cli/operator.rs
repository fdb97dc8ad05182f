/// Who works at this terminal, for the record.
pub(super) fn operator() -> String {
    let user = ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .filter(|user| !user.is_empty() && user.len() <= 100 && !user.contains('\0'));
    format!("cli:{}", user.as_deref().unwrap_or("unknown"))
}
