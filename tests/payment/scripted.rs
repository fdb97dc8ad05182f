use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Heard {
    pub line: String,
    /// In lower case, `name: value` each.
    pub headers: Vec<String>,
    pub body: String,
}

impl Heard {
    pub fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        let mut values = self.headers.iter();
        values.find_map(|header| header.strip_prefix(&prefix))
    }
}

/// What the server does about it.
#[derive(Debug, Clone)]
pub enum Act {
    Say {
        status: u16,
        headers: Vec<(&'static str, &'static str)>,
        body: String,
    },
    /// Closes without a word.
    Cut,
    /// Closes in the middle of its answer.
    CutShort,
    /// Raw bytes.
    Raw(&'static [u8]),
}

impl Act {
    pub fn say(status: u16, body: impl Into<String>) -> Self {
        Self::Say {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }
}

type Script = dyn Fn(&Heard) -> Act + Send + Sync;

/// An HTTP server on loopback that follows a script. It is gone when it is dropped.
pub struct Server {
    pub port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start(script: impl Fn(&Heard) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (script, keep): (Arc<Script>, _) = (Arc::new(script), heard.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (script, keep) = (script.clone(), keep.clone());
                connections.spawn(async move {
                    // The client may go at any moment.
                    let _ = serve(socket, &*script, &keep).await;
                });
            }
        });
        Self { port, heard, task }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

async fn serve(
    socket: TcpStream,
    script: &Script,
    keep: &Mutex<Vec<Heard>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(socket);
    while let Some(heard) = request(&mut stream).await? {
        let act = script(&heard);
        keep.lock().unwrap().push(heard);
        match act {
            Act::Say {
                status,
                headers,
                body,
            } => {
                let mut answer =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    answer.push_str(&format!("{name}: {value}\r\n"));
                }
                stream
                    .write_all(format!("{answer}\r\n{body}").as_bytes())
                    .await?;
            }
            Act::Cut => return Ok(()),
            Act::CutShort => {
                let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\":";
                return stream.write_all(half).await;
            }
            Act::Raw(bytes) => return stream.write_all(bytes).await,
        }
    }
    Ok(())
}

pub async fn request(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Heard>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let line = lines.remove(0);
    let headers: Vec<String> = lines
        .into_iter()
        .map(|header| {
            let (name, value) = header.split_once(':').unwrap();
            format!("{}: {}", name.to_ascii_lowercase(), value.trim())
        })
        .collect();
    let mut heard = Heard {
        line,
        headers,
        body: String::new(),
    };
    let length = heard
        .header("content-length")
        .map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    heard.body = String::from_utf8(body).unwrap();
    Ok(Some(heard))
}
