//! A network between a process and a server.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Fair,
    /// Every piece of either direction takes that long.
    Slow(Duration),
    /// Connections stay open and nothing gets through, until the weather changes.
    Silent,
    /// Connections end at once, and so do new ones.
    Cut,
    /// What the server says ends, and what it is told still arrives.
    HalfClosed,
}

/// Passes TCP connections on to a server, in the weather of the moment.
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
}

impl Proxy {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let weather = watch::Sender::new(Weather::Fair);
        let seen = weather.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if *seen.borrow() == Weather::Cut {
                    continue;
                }
                // The server may be down.
                if let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await {
                    let (near, far) = (near.into_split(), far.into_split());
                    tokio::spawn(pass(near.0, far.1, seen.clone(), false));
                    tokio::spawn(pass(far.0, near.1, seen.clone(), true));
                }
            }
        });
        Self { address, weather }
    }

    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn turns(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

/// One direction of a connection; ends both of its sides' half of it.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    from_server: bool,
) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let now = *weather.borrow_and_update();
        match now {
            Weather::Cut => return,
            Weather::HalfClosed if from_server => {
                let _ = to.shutdown().await;
                return;
            }
            Weather::Silent => {
                if weather.changed().await.is_err() {
                    return;
                }
                continue;
            }
            _ => {}
        }
        let read = tokio::select! {
            changed = weather.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            read = from.read(&mut bytes) => read,
        };
        let Ok(count @ 1..) = read else { return };
        if let Weather::Slow(delay) = now {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
