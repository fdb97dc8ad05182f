use std::io::{Error, ErrorKind, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest frame, in bytes: a payload or a result, and not a whole memory.
const LONGEST: usize = 64 * 1024 * 1024;

/// A value as a frame: its length in four bytes, and JSON.
pub(super) fn frame<T: Serialize>(value: &T) -> std::io::Result<Vec<u8>> {
    raw(&serde_json::to_vec(value)?)
}

/// Bytes as a frame.
pub(super) fn raw(content: &[u8]) -> std::io::Result<Vec<u8>> {
    let length = u32::try_from(content.len())
        .ok()
        .filter(|_| content.len() <= LONGEST)
        .ok_or_else(|| too_long(content.len()))?;
    Ok([&length.to_be_bytes(), content].concat())
}

pub(super) async fn send(to: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> std::io::Result<()> {
    to.write_all(frame).await
}

pub(super) async fn receive<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> std::io::Result<T> {
    let mut content = room(from.read_u32().await?)?;
    from.read_exact(&mut content).await?;
    Ok(serde_json::from_slice(&content)?)
}

pub(super) fn send_blocking(to: &mut impl Write, frame: &[u8]) -> std::io::Result<()> {
    to.write_all(frame)
}

pub(super) fn receive_blocking(from: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut content = room(u32::from_be_bytes(length))?;
    from.read_exact(&mut content)?;
    Ok(content)
}

fn room(length: u32) -> std::io::Result<Vec<u8>> {
    match usize::try_from(length) {
        Ok(length) if length <= LONGEST => Ok(vec![0; length]),
        _ => Err(too_long(LONGEST)),
    }
}

fn too_long(length: usize) -> Error {
    Error::new(
        ErrorKind::InvalidData,
        format!("{length} bytes are too much"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_reads_as_it_was_sent_and_a_cut_or_endless_one_is_an_error() {
        let whole = frame(&vec!["a", "\n\u{0}"]).unwrap();
        let read: Vec<String> = receive(&mut whole.as_slice()).await.unwrap();
        assert_eq!(read, ["a", "\n\u{0}"]);
        assert_eq!(receive_blocking(&mut whole.as_slice()).unwrap(), whole[4..]);
        for cut in 0..whole.len() {
            assert!(receive::<Vec<String>>(&mut &whole[..cut]).await.is_err());
        }
        let endless = [0xff; 64];
        assert!(receive_blocking(&mut endless.as_slice()).is_err());
        assert!(
            receive::<Vec<String>>(&mut endless.as_slice())
                .await
                .is_err()
        );
    }
}
