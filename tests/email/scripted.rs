use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Where in the dialogue the server is asked what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    Greeting,
    Ehlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    Content,
    Other,
}

impl Point {
    fn of(line: &str) -> Self {
        let word = line.split([' ', ':']).next().unwrap().to_ascii_uppercase();
        match word.as_str() {
            "EHLO" => Self::Ehlo,
            "STARTTLS" => Self::StartTls,
            "AUTH" => Self::Auth,
            "MAIL" => Self::Mail,
            "RCPT" => Self::Rcpt,
            "DATA" => Self::Data,
            _ => Self::Other,
        }
    }

    fn usual(self) -> &'static [u8] {
        match self {
            Self::Greeting => b"220 scripted\r\n",
            Self::Ehlo => b"250-scripted\r\n250-SIZE 1000000\r\n250 AUTH PLAIN\r\n",
            Self::Auth => b"235 2.7.0 hello\r\n",
            Self::Data => b"354 go\r\n",
            Self::Content => b"250 2.0.0 taken\r\n",
            Self::StartTls => b"502 no\r\n",
            Self::Mail | Self::Rcpt | Self::Other => b"250 2.0.0 ok\r\n",
        }
    }
}

/// What the server does there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    /// What a server does.
    Usual,
    Say(&'static [u8]),
    /// Says it, then closes.
    SayAndClose(&'static [u8]),
    /// Closes without a word.
    Cut,
    /// Says nothing, ever.
    Hang,
}

/// One command (or the greeting, or a mail's content), in the connection of this number (from 0).
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) connection: usize,
    pub(crate) point: Point,
    pub(crate) line: String,
    /// How often this point came up in this connection before.
    pub(crate) before: usize,
}

type Script = dyn Fn(&Heard) -> Act + Send + Sync;

/// An SMTP server on loopback that follows a script. It is gone when it is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    heard: watch::Receiver<Vec<Heard>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Heard) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heard_by, heard) = watch::channel(Vec::new());
        let (script, heard_by): (Arc<Script>, _) = (Arc::new(script), Arc::new(heard_by));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for connection in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                let talk = Talk {
                    connection,
                    script: script.clone(),
                    heard: heard_by.clone(),
                    own: Mutex::default(),
                };
                connections.spawn(async move {
                    // The client may go at any moment; what matters is what it heard and said.
                    let _ = talk.serve(socket).await;
                });
            }
        });
        Self { port, heard, task }
    }

    /// A server that does one thing at one point of every connection.
    pub(crate) async fn acting(point: Point, act: Act) -> Self {
        Self::start(move |heard| {
            if heard.point == point {
                act
            } else {
                Act::Usual
            }
        })
        .await
    }

    pub(crate) fn url(&self) -> String {
        format!("smtp://user:hunter2@127.0.0.1:{}?tls=none", self.port)
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.borrow().clone()
    }

    pub(crate) fn count(&self, point: Point) -> usize {
        self.heard()
            .iter()
            .filter(|heard| heard.point == point)
            .count()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.heard().into_iter().map(|heard| heard.line).collect()
    }

    /// Returns once this point has come up this often.
    pub(crate) async fn until(&self, point: Point, times: usize) {
        let reached = |all: &Vec<Heard>| all.iter().filter(|h| h.point == point).count() >= times;
        self.heard.clone().wait_for(reached).await.unwrap();
    }
}

struct Talk {
    connection: usize,
    script: Arc<Script>,
    heard: Arc<watch::Sender<Vec<Heard>>>,
    own: Mutex<Vec<Point>>,
}

impl Talk {
    async fn serve(&self, socket: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(socket);
        let mut open = self.act(&mut stream, Point::Greeting, "").await?;
        let mut line = String::new();
        while open {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let point = Point::of(line.trim_end());
            open = self.act(&mut stream, point, line.trim_end()).await?;
        }
        Ok(())
    }

    /// Hears this and does what the script says; false if the connection is to be closed.
    async fn act(
        &self,
        stream: &mut BufReader<TcpStream>,
        point: Point,
        line: &str,
    ) -> std::io::Result<bool> {
        match self.hear(point, line) {
            Act::Usual => {
                stream.write_all(point.usual()).await?;
                if point == Point::Data {
                    let content = read_content(stream).await?;
                    return Box::pin(self.act(stream, Point::Content, &content)).await;
                }
                Ok(true)
            }
            Act::Say(text) => stream.write_all(text).await.map(|()| true),
            Act::SayAndClose(text) => stream.write_all(text).await.map(|()| false),
            Act::Cut => Ok(false),
            Act::Hang => {
                // Until the client gives up.
                stream.read_to_end(&mut Vec::new()).await.map(|_| false)
            }
        }
    }

    fn hear(&self, point: Point, line: &str) -> Act {
        let mut own = self.own.lock().unwrap();
        let heard = Heard {
            connection: self.connection,
            point,
            line: line.to_owned(),
            before: own.iter().filter(|seen| **seen == point).count(),
        };
        own.push(point);
        let act = (self.script)(&heard);
        self.heard.send_modify(|all| all.push(heard));
        act
    }
}

async fn read_content(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut content = String::new();
    while !content.ends_with("\r\n.\r\n") {
        if stream.read_line(&mut content).await? == 0 {
            break;
        }
    }
    Ok(content)
}
