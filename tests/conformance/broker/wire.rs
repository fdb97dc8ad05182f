//! AMQP by hand: publishes what no decent client would.

use lapin::uri::AMQPUri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::setting::amqp_url;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const END: u8 = 0xce;

struct Wire(TcpStream);

fn short(text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(text.len()).unwrap()];
    bytes.extend(text);
    bytes
}

fn long(text: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(text);
    bytes
}

impl Wire {
    async fn send(&mut self, kind: u8, channel: u8, payload: &[&[u8]]) {
        let mut frame = vec![kind, 0, channel];
        frame.extend(long(&payload.concat()));
        frame.push(END);
        self.0.write_all(&frame).await.unwrap();
    }

    /// Reads up to the method `class`, `method` and returns its arguments.
    async fn expect(&mut self, class: u8, method: u8) -> Vec<u8> {
        loop {
            let mut head = [0; 7];
            self.0.read_exact(&mut head).await.unwrap();
            let size = u32::from_be_bytes(head[3..].try_into().unwrap());
            let mut payload = vec![0; size as usize + 1];
            self.0.read_exact(&mut payload).await.unwrap();
            if head[0] == METHOD {
                assert_eq!(payload[..4], [0, class, 0, method], "{payload:?}");
                return payload.split_off(4);
            }
        }
    }
}

/// Publishes to `longshore.jobs` with these bytes as `message_id`, and waits until RabbitMQ
/// has taken it.
pub(super) async fn publish_with_message_id(routing_key: &str, message_id: &[u8], body: &[u8]) {
    let uri: AMQPUri = amqp_url().parse().unwrap();
    let address = (uri.authority.host.as_str(), uri.authority.port);
    let mut wire = Wire(TcpStream::connect(address).await.unwrap());
    wire.0.write_all(b"AMQP\x00\x00\x09\x01").await.unwrap();
    wire.expect(10, 10).await;
    let user = &uri.authority.userinfo;
    let login = format!("\0{}\0{}", user.username, user.password);
    let start_ok: [&[u8]; 5] = [
        &[0, 10, 0, 11],
        &long(b""),
        &short(b"PLAIN"),
        &long(login.as_bytes()),
        &short(b"en_US"),
    ];
    wire.send(METHOD, 0, &start_ok).await;
    let tune = wire.expect(10, 30).await;
    // Its channel and frame limits; no heartbeat.
    wire.send(METHOD, 0, &[&[0, 10, 0, 31], &tune[..6], &[0, 0]])
        .await;
    let vhost = short(uri.vhost.as_bytes());
    wire.send(METHOD, 0, &[&[0, 10, 0, 40], &vhost, &short(b""), &[0]])
        .await;
    wire.expect(10, 41).await;
    wire.send(METHOD, 1, &[&[0, 20, 0, 10], &short(b"")]).await;
    wire.expect(20, 11).await;
    wire.send(METHOD, 1, &[&[0, 85, 0, 10], &[0]]).await;
    wire.expect(85, 11).await;
    let publish: [&[u8]; 5] = [
        &[0, 60, 0, 40],
        &[0, 0],
        &short(b"longshore.jobs"),
        &short(routing_key.as_bytes()),
        &[0],
    ];
    wire.send(METHOD, 1, &publish).await;
    let size = (body.len() as u64).to_be_bytes();
    // Flag 0x0080: `message_id`.
    let header: [&[u8]; 4] = [&[0, 60, 0, 0], &size, &[0x00, 0x80], &short(message_id)];
    wire.send(HEADER, 1, &header).await;
    wire.send(BODY, 1, &[body]).await;
    wire.expect(60, 80).await;
}
