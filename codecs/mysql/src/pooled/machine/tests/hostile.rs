//! Clients and servers that say anything at any time.

use proptest::prelude::*;

use super::*;

/// What texts of clients are made of.
const TEXTS: [&str; 12] = [
    "select a from b",
    "insert into a values (1)",
    "begin",
    "set @a = 1",
    "set time_zone = '+01:00'",
    "use shop",
    "show warnings",
    "select last_insert_id()",
    "call p()",
    "load data local infile 'a' into table b",
    "/* wiremesh: route=replica */ select ?",
    "kill 1",
];

/// Whole packets of servers', but for heads.
const PACKETS: [&[u8]; 10] = [
    b"\0\x01\0\x02\0\0\0",
    b"\0\x01\x07\x03\0\x01\0",
    b"\0\0\0\x02\x40\0\0\0\x03\x02\x011",
    b"\0\0\0\x0a\0\0\0",
    b"\xff\x28\x04#42000no",
    b"\x01",
    b"\x03def\0\0\0\x01a\0\x0c\x2d\0\0\0\0\0\xfd\0\0\0\0\0",
    b"\xfe\0\0\x42\0\0\0",
    b"\0\x09\0\0\0\x01\0\x01\0\0\0\0",
    b"\xfbfile",
];

#[derive(Clone, Debug)]
enum Step {
    Command(u8, usize),
    Packet(u8, usize),
    Client(Vec<u8>),
    Server(Vec<u8>),
    LetGo,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let code = prop_oneof![Just(3), Just(0x16), Just(0x17), Just(0x1f), 0..0x20_u8];
    let step = prop_oneof![
        6 => (code, 0..TEXTS.len()).prop_map(|(code, text)| Step::Command(code, text)),
        8 => (0..4_u8, 0..PACKETS.len()).prop_map(|(seq, packet)| Step::Packet(seq, packet)),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Step::Client),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Step::Server),
        1 => Just(Step::LetGo),
    ];
    prop::collection::vec(step, 0..60)
}

/// The proxy's part, as the trait has it.
struct Proxy {
    talk: Talk,
    /// What has come of either side, and was not taken.
    client: BytesMut,
    server: BytesMut,
    /// The request in progress, until it was sent; and whether there is one.
    request: Option<MysqlFrame>,
    busy: bool,
    over: bool,
}

impl Proxy {
    fn new() -> Self {
        let (client, server) = (BytesMut::new(), BytesMut::new());
        Self { talk: Talk::new(b""), client, server, request: None, busy: false, over: false }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Command(code, text) => {
                put_packet(&mut self.client, 0, &[&[code], TEXTS[text].as_bytes()].concat());
            }
            Step::Packet(seq, packet) => {
                let _ = put_packet(&mut self.server, 1 + seq, PACKETS[packet]);
            }
            Step::Client(bytes) => self.client.extend_from_slice(&bytes),
            Step::Server(bytes) => self.server.extend_from_slice(&bytes),
            Step::LetGo if !self.busy && self.talk.machine.lent.place.is_some() => {
                let hold = self.talk.machine.let_go(&self.talk.mysql);
                self.keep(hold);
            }
            Step::LetGo => {}
        }
        self.take_client();
        self.take_server();
    }

    fn take_client(&mut self) {
        let limits = Limits::default();
        while !self.over && (!self.busy || self.talk.machine.is_open() && self.request.is_none()) {
            let (machine, mysql) = (&mut self.talk.machine, &self.talk.mysql);
            let before = self.client.len();
            match machine.take(mysql, Peer::Client, &mut (), &limits, &mut self.client) {
                Ok(Some(frame)) => {
                    assert_eq!(self.client.len() + frame.bytes().len(), before);
                    self.on_request(frame);
                }
                Ok(None) => return,
                Err(_) => self.over = true,
            }
        }
    }

    fn on_request(&mut self, frame: MysqlFrame) {
        let (machine, mysql) = (&mut self.talk.machine, &self.talk.mysql);
        match machine.on_request(mysql, &frame) {
            Attachment::Upstream | Attachment::UpstreamNoReply if self.busy => self.over = true,
            Attachment::Upstream => {
                self.busy = true;
                if machine.lent.place.is_none() {
                    self.server.clear();
                    self.talk.lend(self.talk.machine.session.state().schema().is_empty());
                }
                self.request = Some(frame);
                self.send();
            }
            Attachment::Continue => {}
            Attachment::Answered | Attachment::Reset => {
                let _ = machine.answer();
                let hold = machine.let_go(mysql);
                self.keep(hold);
            }
            // Not followed here.
            _ => self.over = true,
        }
    }

    /// Sends the request, or what goes first.
    fn send(&mut self) {
        let Some(mut frame) = self.request.take() else { return };
        let (machine, mysql) = (&mut self.talk.machine, &self.talk.mysql);
        match machine.prepare(mysql, &mut frame) {
            Ready::Send => {}
            Ready::First(_) => self.request = Some(frame),
            Ready::Answer(_) | Ready::Elsewhere => {
                self.busy = false;
                machine.on_failed(mysql);
                let hold = machine.let_go(mysql);
                self.keep(hold);
            }
        }
    }

    fn take_server(&mut self) {
        let limits = Limits::default();
        while !self.over && !self.server.is_empty() && self.talk.machine.lent.place.is_some() {
            let (machine, mysql) = (&mut self.talk.machine, &self.talk.mysql);
            let taken = machine.take(mysql, Peer::Upstream, &mut (), &limits, &mut self.server);
            match taken {
                Ok(Some(frame)) => {
                    // What nobody has asked for is no reply.
                    assert!(self.busy, "{frame:?}");
                    let hold = machine.on_reply(mysql, &frame);
                    self.keep(hold);
                }
                Ok(None) => return,
                Err(_) => self.over = true,
            }
        }
    }

    fn keep(&mut self, hold: Hold<Mysql>) {
        match hold {
            Hold::Pending | Hold::Answer(_) => return,
            Hold::Prepared => return self.send(),
            Hold::Held | Hold::Linger => {}
            Hold::Release { reset } => {
                let machine = &self.talk.machine;
                if machine.lent.place.is_some() && reset.is_none() {
                    assert!(
                        machine.pin().is_none()
                            && !machine.session.status.has(StatusFlags::IN_TRANS)
                    );
                }
                self.part();
            }
            Hold::Close => self.part(),
        }
        // The reply was complete, or there was none: the request that it answers was sent.
        self.over |= self.request.is_some();
        self.busy = false;
    }

    fn part(&mut self) {
        if self.talk.machine.lent.place.is_some() {
            self.talk.machine.detach();
        }
        self.server.clear();
    }
}

proptest! {
    /// Nothing panics, what is taken is what was said, nothing is taken for a reply that nobody has asked for, and no connection is
    /// released that holds something.
    #[test]
    fn anything_may_be_said(steps in steps()) {
        let mut proxy = Proxy::new();
        for step in steps {
            if proxy.over {
                break;
            }
            proxy.step(step);
        }
    }
}
