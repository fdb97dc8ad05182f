/// Longest user and host in characters.
const LONGEST: usize = 100;

/// Who works at this terminal, for the record: `cli:USER@HOST`.
pub(super) fn operator() -> String {
    let user = ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .filter(|user| !user.is_empty() && user.len() <= LONGEST && !user.contains('\0'));
    let host = gethostname::gethostname();
    let host: String = host.to_string_lossy().chars().take(LONGEST).collect();
    format!("cli:{}@{host}", user.as_deref().unwrap_or("unknown"))
}
