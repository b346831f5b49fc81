"""A MySQL client that asks for any capabilities and sends any command. For what the libraries cannot be made to do."""

import hashlib
import socket
import struct

LONG_PASSWORD, LONG_FLAG, CONNECT_WITH_DB = 1, 1 << 2, 1 << 3
LOCAL_FILES, PROTOCOL_41, TRANSACTIONS = 1 << 7, 1 << 9, 1 << 13
SECURE_CONNECTION, MULTI_STATEMENTS, MULTI_RESULTS = 1 << 15, 1 << 16, 1 << 17
PS_MULTI_RESULTS, PLUGIN_AUTH, CONNECT_ATTRS = 1 << 18, 1 << 19, 1 << 20
SESSION_TRACK, DEPRECATE_EOF, OPTIONAL_METADATA = 1 << 23, 1 << 24, 1 << 25
QUERY_ATTRIBUTES = 1 << 27
# MariaDB's, which stand where MySQL has bytes of zero.
PROGRESS, BULK, EXTENDED_METADATA, CACHE_METADATA, BULK_UNIT_RESULTS = 1, 4, 8, 16, 32

BASE = (
    LONG_PASSWORD | LONG_FLAG | CONNECT_WITH_DB | LOCAL_FILES | PROTOCOL_41 | TRANSACTIONS
    | SECURE_CONNECTION | MULTI_STATEMENTS | MULTI_RESULTS | PS_MULTI_RESULTS | PLUGIN_AUTH
)

QUIT, INIT_DB, QUERY, FIELD_LIST, STATISTICS, PROCESS_INFO, PROCESS_KILL = 1, 2, 3, 4, 9, 10, 12
DEBUG, PING, CHANGE_USER, BINLOG_DUMP, REGISTER_REPLICA = 13, 14, 17, 18, 21
PREPARE, EXECUTE, LONG_DATA, CLOSE, RESET, SET_OPTION, FETCH = 22, 23, 24, 25, 26, 27, 28
RESET_CONNECTION, BULK_EXECUTE = 31, 0xFA

MORE_RESULTS, CURSOR_EXISTS, LAST_ROW_SENT, OUT_PARAMETERS = 8, 64, 128, 4096


class Refused(Exception):
    """An error packet: its number and text."""


def number(data, at):
    """A length-encoded integer and where it ends."""
    first = data[at]
    if first < 0xFB:
        return first, at + 1
    width = {0xFC: 2, 0xFD: 3, 0xFE: 8}[first]
    return int.from_bytes(data[at + 1 : at + 1 + width], "little"), at + 1 + width


def text(data, at):
    length, at = number(data, at)
    return data[at : at + length], at + length


def counted(data):
    size = len(data)
    if size < 0xFB:
        return bytes([size]) + data
    return (b"\xfc" + struct.pack("<H", size) if size < 1 << 16 else b"\xfe" + struct.pack("<Q", size)) + data


def native(password, nonce):
    """What mysql_native_password answers."""
    if not password:
        return b""
    once = hashlib.sha1(password.encode()).digest()
    key = hashlib.sha1(nonce + hashlib.sha1(once).digest()).digest()
    return bytes(a ^ b for a, b in zip(once, key))


def sha2(password, nonce):
    """What caching_sha2_password answers."""
    if not password:
        return b""
    once = hashlib.sha256(password.encode()).digest()
    key = hashlib.sha256(hashlib.sha256(once).digest() + nonce).digest()
    return bytes(a ^ b for a, b in zip(once, key))


ANSWERS = {"mysql_native_password": native, "caching_sha2_password": sha2}


class Wire:
    def __init__(self, host, port, user="nat", password="natpw", database="test", caps=BASE, extra=0):
        self.socket = socket.create_connection((host, port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.caps, self.extra, self.password = caps, extra, password
        self.input = b""
        self.sequence = 0
        greeting = self.packet()
        end = greeting.index(0, 1)
        self.version = greeting[1:end].decode()
        (self.id,) = struct.unpack_from("<I", greeting, end + 1)
        low, collation, status, high, length = struct.unpack_from("<HBHHB", greeting, end + 14)
        self.offered = low | high << 16
        rest = greeting[end + 32 :]
        self.nonce = greeting[end + 5 : end + 13] + rest[:12]
        self.plugin = rest[max(13, length - 8) :].split(b"\0")[0].decode()
        if extra:
            self.caps &= ~LONG_PASSWORD
        self.told = counted(counted(b"program_name") + counted(b"wire"))
        self.send(self.response(user, database))
        self.finish_login()

    def response(self, user, database):
        head = struct.pack("<IIB", self.caps, 1 << 24, 45) + bytes(19) + struct.pack("<I", self.extra)
        answer = ANSWERS.get(self.plugin, native)(self.password, self.nonce)
        body = head + user.encode() + b"\0" + bytes([len(answer)]) + answer
        if self.caps & CONNECT_WITH_DB:
            body += database.encode() + b"\0"
        body += self.plugin.encode() + b"\0"
        if self.caps & CONNECT_ATTRS:
            body += self.told
        return body

    def finish_login(self):
        while True:
            packet = self.packet()
            if packet[0] == 0:
                return
            if packet[0] == 0xFF:
                raise self.refusal(packet)
            if packet[0] == 0xFE:
                plugin, nonce = packet[1:].split(b"\0", 1)
                self.plugin, self.nonce = plugin.decode(), nonce.rstrip(b"\0")
                self.send(ANSWERS[self.plugin](self.password, self.nonce))
            elif packet != b"\x01\x03":
                raise Refused(0, f"asked for {packet[:40]!r}")

    # Packets.

    def send(self, body):
        while True:
            piece, body = body[:0xFFFFFF], body[0xFFFFFF:]
            self.socket.sendall(len(piece).to_bytes(3, "little") + bytes([self.sequence]) + piece)
            self.sequence = (self.sequence + 1) % 256
            if len(piece) < 0xFFFFFF:
                return

    def exactly(self, count):
        while len(self.input) < count:
            more = self.socket.recv(1 << 18)
            if not more:
                raise EOFError("closed")
            self.input += more
        taken, self.input = self.input[:count], self.input[count:]
        return taken

    def packet(self):
        whole = b""
        while True:
            head = self.exactly(4)
            length = int.from_bytes(head[:3], "little")
            if head[3] != self.sequence:
                raise AssertionError(f"packet {head[3]}, wanted {self.sequence}")
            self.sequence = (self.sequence + 1) % 256
            whole += self.exactly(length)
            if length < 0xFFFFFF:
                return whole

    def refusal(self, packet):
        code = struct.unpack_from("<H", packet, 1)[0]
        return Refused(code, packet[3:].decode("utf-8", "replace"))

    # Commands and their replies.

    def command(self, code, body=b""):
        self.sequence = 0
        self.send(bytes([code]) + body)

    def ask(self, code, body=b""):
        self.command(code, body)
        return self.reply()

    def query(self, sql, attributes=()):
        return self.ask(QUERY, self.attributes(attributes) + sql.encode())

    def attributes(self, pairs):
        """What stands before a statement of a client that knows query attributes."""
        if not self.caps & QUERY_ATTRIBUTES:
            return b""
        body = bytes([len(pairs), 1])
        if pairs:
            body += bytes((len(pairs) + 7) // 8) + b"\1"
            body += b"".join(b"\xfe\0" + counted(name.encode()) for name, _ in pairs)
            body += b"".join(counted(value.encode()) for _, value in pairs)
        return body

    def status(self, packet):
        """That of an OK packet, or of an EOF packet."""
        if packet[0] == 0xFE and len(packet) < 9 and not self.caps & DEPRECATE_EOF:
            return struct.unpack_from("<H", packet, 3)[0]
        _, at = number(packet, 1)
        _, at = number(packet, at)
        return struct.unpack_from("<H", packet, at)[0]

    def reply(self):
        """All results of a command: for each the rows' bytes, or how many were affected."""
        results = []
        while True:
            result, status = self.result()
            results.append(result)
            if not status & MORE_RESULTS:
                return results

    def progressed(self):
        """The next packet that does not tell of progress."""
        while True:
            packet = self.packet()
            if packet[0] != 0xFF or packet[1:3] != b"\xff\xff":
                return packet
            self.reports += 1

    def result(self):
        packet = self.progressed()
        if packet[0] == 0xFF:
            raise self.refusal(packet)
        if packet[0] == 0:
            return number(packet, 1)[0], self.status(packet)
        if packet[0] == 0xFE and len(packet) < 9:
            return "eof", self.status(packet)
        if packet[0] == 0xFB:
            return self.infile(packet[1:].decode()), 0
        columns, at = number(packet, 0)
        follows = packet[at] if len(packet) > at else 1
        for _ in range(columns if follows else 0):
            self.packet()
        if not self.caps & DEPRECATE_EOF:
            status = self.status(self.packet())
            if status & CURSOR_EXISTS:
                return [], status
            if status & OUT_PARAMETERS:
                # That more will come is said before these rows alone.
                return self.rows()[0], status
        return self.rows()

    def rows(self):
        rows = []
        while True:
            packet = self.progressed()
            if packet[0] == 0xFF:
                raise self.refusal(packet)
            if packet[0] == 0xFE and len(packet) < 0xFFFFFF:
                return rows, self.status(packet)
            rows.append(packet)

    files = {}
    reports = 0

    def infile(self, name):
        for piece in self.files.get(name, ()):
            self.send(piece)
        self.send(b"")
        packet = self.packet()
        if packet[0] == 0xFF:
            raise self.refusal(packet)
        return number(packet, 1)[0]

    def prepare(self, sql):
        self.command(PREPARE, sql.encode())
        packet = self.packet()
        if packet[0] == 0xFF:
            raise self.refusal(packet)
        handle, columns, parameters = struct.unpack_from("<IHH", packet, 1)
        follows = not self.caps & OPTIONAL_METADATA or len(packet) < 13 or packet[12]
        for count in (parameters, columns):
            for _ in range(count if follows else 0):
                self.packet()
            if count and follows and not self.caps & DEPRECATE_EOF:
                self.packet()
        return handle

    def execute(self, handle, values=(), types=True, cursor=0, attributes=()):
        """`values` are integers, strings or None. `types`: whether to say what they are."""
        named = bool(self.caps & QUERY_ATTRIBUTES)
        body = struct.pack("<IBI", handle, cursor | (8 if named else 0), 1)
        every = [("", value) for value in values] + list(attributes if named else ())
        if named:
            body += bytes([len(every)])
        if every:
            nulls = bytearray((len(every) + 7) // 8)
            for n, (_, value) in enumerate(every):
                if value is None:
                    nulls[n // 8] |= 1 << n % 8
            body += bytes(nulls) + bytes([types])
            for name, value in every if types else ():
                body += b"\x08\0" if isinstance(value, int) else b"\xfd\0"
                body += counted(name.encode()) if named else b""
            for _, value in every:
                if isinstance(value, int):
                    body += struct.pack("<q", value)
                elif value is not None:
                    body += counted(value.encode())
        return self.ask(EXECUTE, body)

    def fetch(self, handle, count):
        """Rows, and whether there are no more."""
        self.command(FETCH, struct.pack("<II", handle, count))
        rows, status = self.rows()
        return rows, bool(status & LAST_ROW_SENT)

    def change_user(self, user, password, database="test"):
        self.password = password
        answer = ANSWERS[self.plugin](password, self.nonce)
        body = user.encode() + b"\0" + bytes([len(answer)]) + answer + database.encode() + b"\0"
        body += struct.pack("<H", 45) + self.plugin.encode() + b"\0"
        if self.caps & CONNECT_ATTRS:
            body += self.told
        self.command(CHANGE_USER, body)
        self.finish_login()

    def close(self):
        self.command(QUIT)
        if self.socket.recv(1):
            raise AssertionError("an answer to COM_QUIT")
        self.socket.close()
