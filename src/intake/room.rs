use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Problem, problems};

/// Bodies that are in memory at the same time, in KiB, by what they say of their length. A body
/// is held a few times over while it is read and checked.
const ROOM: u32 = 128 * 1024;
/// What a body counts for that says nothing of its length, and at most, in KiB: the largest that
/// any call reads.
const LARGEST: u32 = 8 * 1024;
/// How long a request waits for room.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bounds the memory that bodies take, however many connections send one. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        // It fits a `usize` wherever there is room for it.
        Self(Arc::new(Semaphore::new(ROOM as usize)))
    }
}

impl Room {
    /// Room for the body of a request, to be kept until it is answered.
    pub(super) async fn take(&self, headers: &HeaderMap) -> Result<OwnedSemaphorePermit, Problem> {
        let taking = self.0.clone().acquire_many_owned(weight(headers));
        match tokio::time::timeout(PATIENCE, taking).await {
            Ok(Ok(place)) => Ok(place),
            _ => {
                let detail = "too many large bodies are on their way; try again";
                Err(Problem::new(problems::TOO_MANY_CONNECTIONS, detail).retry_after(1))
            }
        }
    }
}

/// In KiB. More than the declared length never arrives: the server cuts it off there.
fn weight(headers: &HeaderMap) -> u32 {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.map_or(LARGEST, |bytes| {
        u32::try_from(bytes / 1024 + 1).map_or(LARGEST, |size| size.min(LARGEST))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_length(length: &'static str) -> HeaderMap {
        let value = length.parse().unwrap();
        HeaderMap::from_iter([(header::CONTENT_LENGTH, value)])
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_for_so_many_bytes_and_comes_back() {
        let room = Room::default();
        let mut places = Vec::new();
        for _ in 0..ROOM / LARGEST {
            places.push(room.take(&of_length("99999999999")).await.unwrap());
        }
        let refused = room.take(&of_length("10")).await.unwrap_err();
        assert_eq!(refused.body()["code"], "too_many_connections");
        places.pop();
        let small: Vec<_> = futures::future::join_all(
            (0..LARGEST).map(|_| async { room.take(&of_length("1000")).await }),
        )
        .await;
        assert!(small.iter().all(Result::is_ok));
        assert!(room.take(&HeaderMap::new()).await.is_err());
        drop(small);
        assert!(room.take(&HeaderMap::new()).await.is_ok());
    }
}
