//! The first thing a broker says: `connection.start`, which names it. lapin reads it and
//! keeps it to itself, so it is read here once more, on a connection that ends there.

use std::io;

use futures::io::{AsyncReadExt, AsyncWriteExt};
use lapin::tcp::AMQPUriTcpExt;
use lapin::types::{AMQPValue, FieldTable, parsing};
use lapin::uri::AMQPUri;

/// AMQP 0-9-1, section 4.2.2.
const PROTOCOL_HEADER: &[u8; 8] = b"AMQP\x00\x00\x09\x01";
/// A frame's type, channel and size.
const FRAME_HEADER: usize = 7;
/// Class and method `connection.start`, then the protocol version: 0-9.
const CONNECTION_START: &[u8; 6] = &[0, 10, 0, 10, 0, 9];
/// A greeting is some hundred bytes long.
const MAX_GREETING: u32 = 64 * 1024;

/// `RabbitMQ 3.10.8`
pub(super) async fn version(uri: &AMQPUri) -> io::Result<String> {
    let runtime = lapin::runtime::default_runtime().map_err(io::Error::other)?;
    let mut stream = uri.connect_async(&runtime).await?;
    stream.write_all(PROTOCOL_HEADER).await?;
    stream.flush().await?;
    let mut header = [0; FRAME_HEADER];
    stream.read_exact(&mut header).await?;
    let [.., a, b, c, d] = header;
    let size = u32::from_be_bytes([a, b, c, d]);
    if !header.starts_with(&[1, 0, 0]) || size > MAX_GREETING {
        return Err(no_broker());
    }
    let mut greeting = vec![0; size as usize];
    stream.read_exact(&mut greeting).await?;
    read(&greeting).ok_or_else(no_broker)
}

fn no_broker() -> io::Error {
    io::Error::other("what answers there does not speak AMQP 0-9-1")
}

fn read(greeting: &[u8]) -> Option<String> {
    let properties = greeting.strip_prefix(CONNECTION_START)?;
    let (_, properties) = parsing::parse_field_table(properties).ok()?;
    let product = property(&properties, "product").unwrap_or_else(|| "AMQP broker".to_owned());
    let version = property(&properties, "version").unwrap_or_else(|| "unknown".to_owned());
    Some(format!("{product} {version}"))
}

fn property(properties: &FieldTable, name: &str) -> Option<String> {
    match properties.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_names_the_broker() {
        let mut greeting = CONNECTION_START.to_vec();
        let table = b"\x07productS\x00\x00\x00\x08RabbitMQ\x07versionS\x00\x00\x00\x054.1.0";
        greeting.extend(u32::try_from(table.len()).unwrap().to_be_bytes());
        greeting.extend(table);
        greeting.extend(b"\x00\x00\x00\x05PLAIN\x00\x00\x00\x05en_US");
        assert_eq!(read(&greeting).as_deref(), Some("RabbitMQ 4.1.0"));
    }

    #[test]
    fn anything_else_is_no_greeting() {
        assert_eq!(read(b""), None);
        assert_eq!(read(b"HTTP/1.1 400"), None);
        assert_eq!(read(&[0, 10, 0, 10, 0, 9, 0, 0, 0, 9, 1]), None);
    }
}
