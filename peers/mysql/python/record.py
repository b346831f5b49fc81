"""record.py SCENARIO HOST:PORT SERVER: a conversation that is worth recording. Every reply is read to its end."""

import struct
import sys

import wire
from wire import Refused, Wire


def refused(code, call, *args):
    try:
        seen = call(*args)
    except Refused as e:
        if e.args[0] != code:
            raise
        return
    raise AssertionError(f"wanted error {code}, saw {seen!r}")


def last(w, sql):
    """The last result's rows, or how many rows it affected."""
    return w.query(sql)[-1]


def text(address, caps, extra=0):
    """COM_QUERY and the commands without statements."""
    w = Wire(*address, caps=caps | wire.CONNECT_ATTRS, extra=extra)
    w.query("drop table if exists wm_text")
    w.query(
        "create table wm_text(a int primary key auto_increment, b varchar(40), c double, d decimal(10,3),"
        " e datetime(6), f blob, g bigint unsigned, h json)"
    )
    w.query(
        "insert into wm_text(b, c, d, e, f, g, h) values ('one', 1.5, 2.125, '2026-11-21 20:15:00.000001', x'00ff',"
        " 18446744073709551615, '{}'), (null, null, null, null, null, null, null), ('', 0, 0, '1000-01-01', '', 0, '[]')"
    )
    assert len(last(w, "select * from wm_text order by a")) == 3
    assert last(w, "select * from wm_text where a < 0") == []
    assert last(w, "update wm_text set c = c + 1 where c is not null") == 2
    assert len(last(w, "select repeat('x', 300) x, repeat('y', 500) y")) == 1
    refused(1146, w.query, "select * from wm_missing")
    refused(1064, w.query, "this is no statement")
    # A result that breaks off among its rows.
    refused(1242, w.query, "select a, if(a < 3, a, (select 1 union select 2)) from wm_text order by a")
    assert len(w.query("select 1; update wm_text set b = 'x' where a = 1; select 2, 3 union select 4, 5")) == 3
    refused(1146, w.query, "select 1; do 0; select * from wm_missing; select 4")
    w.query("drop procedure if exists wm_text")
    w.query(
        "create procedure wm_text(n int) begin select n, n + 1; select 'second' union select 'row';"
        " if n = 7 then signal sqlstate '45000' set message_text = 'seven'; end if; end"
    )
    assert len(w.query("call wm_text(1)")) == 3
    refused(1644, w.query, "call wm_text(7)")
    last(w, "select cast('abc' as signed)")
    assert len(last(w, "show warnings")) == 1
    w.ask(wire.PING)
    w.ask(wire.INIT_DB, b"mysql")
    refused(1049, w.ask, wire.INIT_DB, b"wm_missing")
    w.ask(wire.INIT_DB, b"test")
    w.command(wire.STATISTICS)
    assert w.packet().startswith(b"Uptime")
    w.command(wire.FIELD_LIST, b"wm_text\0%")
    w.rows()
    w.command(wire.FIELD_LIST, b"wm_missing\0")
    refused(1146, w.rows)
    w.ask(wire.SET_OPTION, struct.pack("<H", 1))
    refused(1064, w.query, "select 1; select 2")
    w.ask(wire.SET_OPTION, struct.pack("<H", 0))
    w.ask(wire.PROCESS_INFO)
    refused(1094, w.ask, wire.PROCESS_KILL, struct.pack("<I", 999999))
    refused(1047, w.ask, 0x50)
    w.query("begin")
    w.query("insert into wm_text(b) values ('gone')")
    w.query("rollback")
    w.ask(wire.RESET_CONNECTION)
    w.query("drop table wm_text")
    w.close()


def prepared(address, caps, extra=0):
    w = Wire(*address, caps=caps, extra=extra)
    w.query("drop table if exists wm_ps")
    w.query("create table wm_ps(a int primary key, b text)")
    insert = w.prepare("insert into wm_ps values (?, ?)")
    assert w.execute(insert, (1, "one")) == [1]
    for n in range(2, 8):
        w.execute(insert, (n, f"row {n}"), types=False)
    w.execute(insert, (8, None))
    refused(1062, w.execute, insert, (8, None))
    select = w.prepare("select a, b from wm_ps where a > ? order by a")
    assert len(w.execute(select, (2,))[0]) == 6
    assert w.execute(select, (100,), types=False) == [[]]
    # A cursor is read in parts, and one is left.
    w.execute(select, (0,), cursor=1)
    assert len(w.fetch(select, 3)[0]) == 3
    assert len(w.fetch(select, 3)[0]) == 3
    while not w.fetch(select, 3)[1]:
        pass
    refused(1421, w.fetch, select, 3)
    w.execute(select, (0,), cursor=1)
    w.fetch(select, 1)
    w.ask(wire.RESET, struct.pack("<I", select))
    assert len(w.execute(select, (0,))[0]) == 8
    w.command(wire.LONG_DATA, struct.pack("<IH", insert, 1) + b"long ")
    w.command(wire.LONG_DATA, struct.pack("<IH", insert, 1) + b"data")
    body = struct.pack("<IBI", insert, 8 if caps & wire.QUERY_ATTRIBUTES else 0, 1)
    if caps & wire.QUERY_ATTRIBUTES:
        body += b"\2\0\1\x08\0\0\xfc\0\0"
    else:
        body += b"\0\1\x08\0\xfc\0"
    assert w.ask(wire.EXECUTE, body + struct.pack("<q", 20)) == [1]
    w.command(wire.CLOSE, struct.pack("<I", insert))
    refused(1243, w.execute, insert, (1, "one"))
    refused(1243, w.ask, wire.RESET, struct.pack("<I", 77777))
    refused(1064, w.prepare, "select from where")
    nothing = w.prepare("do 1")
    assert w.execute(nothing) == [0]
    w.query("drop procedure if exists wm_ps")
    w.query("create procedure wm_ps(n int, out o int) begin select n, a from wm_ps limit 2; set o = n * 2; end")
    call = w.prepare("call wm_ps(?, ?)")
    seen = w.execute(call, (21, 0))
    assert len(seen) == 3, seen
    # A statement whose table has changed is described anew.
    star = w.prepare("select * from wm_ps where a = 1")
    w.execute(star)
    w.query("alter table wm_ps add c int")
    w.execute(star)
    w.query("drop table wm_ps")
    w.close()


def track(address, caps, extra=0):
    """What OK packets tell of the session."""
    w = Wire(*address, caps=caps | wire.SESSION_TRACK, extra=extra)
    w.query("set session_track_system_variables = '*', session_track_schema = 1, session_track_state_change = 1")
    w.query("set session_track_transaction_info = 'CHARACTERISTICS'")
    if "Maria" not in w.version:
        w.query("set session_track_gtids = 'OWN_GTID'")
    w.query("set time_zone = '+05:00'")
    w.query("set names latin1")
    w.ask(wire.INIT_DB, b"mysql")
    w.query("use test")
    w.query("set @mine = 5")
    w.query("create temporary table wm_track_t(a int)")
    w.query("drop table if exists wm_track")
    w.query("create table wm_track(a int) engine=innodb")
    w.query("set transaction isolation level serializable, read only")
    w.query("start transaction with consistent snapshot")
    w.query("select * from wm_track")
    w.query("commit")
    w.query("begin")
    w.query("insert into wm_track values (1)")
    w.query("commit and chain")
    w.query("rollback")
    w.query("set autocommit = 0")
    w.query("select a from wm_track")
    w.query("insert into wm_track values (2); commit; set autocommit = 1")
    w.query("lock tables wm_track write")
    w.query("unlock tables")
    w.execute(w.prepare("set @@session.sort_buffer_size = ?"), (300000,))
    w.ask(wire.RESET_CONNECTION)
    w.query("drop table wm_track")
    w.close()


def users(address, caps, server):
    w = Wire(*address, caps=caps | wire.CONNECT_ATTRS)
    w.query("set @mine = 5")
    if server == "mysql8":
        # The greeting named another plugin than this account's; then each asks for the other's.
        w.plugin = "mysql_native_password"
        w.change_user("nat", "natpw")
        w.change_user("nopw", "")
        w.change_user("nat", "natpw", "mysql")
    else:
        w.change_user("nat", "natpw", "mysql")
        w.change_user("nopw", "")
        w.change_user("nat", "natpw")
    w.query("select user(), database(), @mine")
    refused(1045, w.change_user, "nat", "wrong")


def infile(address, caps):
    w = Wire(*address, caps=caps)
    w.files = {"here": [b"1,one\n2,", b"two\n3,three\n"], "large": [b"".join(b"%d,x\n" % n for n in range(100, 400))] * 3}
    w.query("drop table if exists wm_infile")
    w.query("create table wm_infile(a int, b varchar(20))")
    load = "load data local infile '{}' into table wm_infile fields terminated by ','"
    assert w.query(load.format("here")) == [3]
    assert w.query(load.format("large")) == [900]
    # What a client sends that has no such file.
    assert w.query(load.format("none")) == [0]
    w.query("select 1; " + load.format("here"))
    refused(1146, w.query, load.format("here").replace("wm_infile", "wm_missing"))
    w.query("select count(*) from wm_infile")
    w.query("drop table wm_infile")
    w.close()


def binlog(address, caps):
    w = Wire(*address, caps=caps)
    w.query("flush binary logs")
    name, at = wire.text(last(w, "show master status")[0], 0)
    position, _ = wire.text(last(w, "show master status")[0], at)
    w.query("create table if not exists wm_binlog(a int)")
    w.query("insert into wm_binlog values (1), (2)")
    w.query("drop table wm_binlog")
    w.query("set @master_binlog_checksum = @@global.binlog_checksum")
    w.query("set @slave_uuid = uuid()")
    w.ask(wire.REGISTER_REPLICA, struct.pack("<I", 4242) + b"\0\0\0" + struct.pack("<HII", 0, 0, 0))
    # 1: it ends with what there is.
    w.command(wire.BINLOG_DUMP, struct.pack("<IHI", 4, 1, 4242) + name)
    events, _ = w.rows()
    assert len(events) > 5, len(events)
    w.socket.close()


def bulk(address, caps):
    extra = wire.BULK | wire.EXTENDED_METADATA | wire.CACHE_METADATA | wire.BULK_UNIT_RESULTS
    w = Wire(*address, caps=caps, extra=extra)
    w.query("drop table if exists wm_bulk")
    w.query("create table wm_bulk(a int primary key auto_increment, b varchar(20), c json, d point, e uuid)")
    insert = w.prepare("insert into wm_bulk(a, b) values (?, ?)")
    row = lambda n: b"\0" + struct.pack("<q", n) + b"\0" + wire.counted(b"row %d" % n)
    head = struct.pack("<IH", insert, 128) + b"\x08\0\xfd\0"
    assert w.ask(wire.BULK_EXECUTE, head + b"".join(map(row, range(1, 40)))) == [39]
    null, default = b"\0" + struct.pack("<q", 50) + b"\1", b"\2\0\1z"
    assert w.ask(wire.BULK_EXECUTE, head + null + default) == [2]
    refused(1062, w.ask, wire.BULK_EXECUTE, head + row(60) + row(1))
    select = w.prepare("select a, b, c, d, e from wm_bulk where a < ? order by a")
    w.execute(select, (4,))
    # The second time the columns are not described again.
    w.execute(select, (3,), types=False)
    w.query("select a, c, d, e from wm_bulk limit 1")
    # Prepared and executed without waiting in between: -1 is the last that was prepared.
    w.command(wire.PREPARE, b"select ? + 1")
    w.command(wire.EXECUTE, struct.pack("<IBI", 0xFFFFFFFF, 0, 1) + b"\0\1\x08\0" + struct.pack("<q", 41))
    w.sequence = 1
    for _ in range(3 + 2 * (not caps & wire.DEPRECATE_EOF)):
        w.packet()
    w.sequence = 1
    w.reply()
    w.query("drop table wm_bulk")
    w.close()


def progress(address, caps):
    w = Wire(*address, caps=caps, extra=wire.PROGRESS)
    w.query("set progress_report_time = 1")
    w.query("create or replace table wm_progress(a int, b int)")
    file = f"'wm_progress_{w.id}'"
    w.query(f"select seq into outfile {file} from seq_1_to_60")
    w.query(f"load data infile {file} into table wm_progress(a) set b = sleep(0.05)")
    assert w.reports, "no progress was told"
    w.query("drop table wm_progress")
    w.close()


def denied(address, caps):
    refused(1045, lambda: Wire(*address, password="wrong", caps=caps))


MODERN = wire.BASE | wire.SESSION_TRACK | wire.DEPRECATE_EOF
# What only MySQL offers.
NEWEST = MODERN | wire.QUERY_ATTRIBUTES


def attributes(address, caps):
    w = Wire(*address, caps=caps | wire.OPTIONAL_METADATA)
    w.query("select mysql_query_attribute_string('who')", [("who", "wm"), ("traceparent", "00-1-2-03")])
    w.query("select 1; select mysql_query_attribute_string('who')", [("who", "both")])
    s = w.prepare("select mysql_query_attribute_string('n'), ?")
    w.execute(s, ("p",), attributes=[("n", "named")])
    w.execute(s, ("q",), attributes=[("n", "again")], types=True)
    w.query("set resultset_metadata = none")
    w.query("select 1, 2 union select 3, 4")
    w.execute(w.prepare("select 5, ?"), (6,))
    w.execute(s, ("r",))
    w.query("set resultset_metadata = full")
    w.query("select 7")
    w.close()


def scenarios(address, server):
    """By name: all that this server can be asked."""
    maria = server != "mysql8"
    plain, modern = wire.BASE, MODERN if maria else NEWEST
    extra = wire.EXTENDED_METADATA | wire.CACHE_METADATA if maria else 0
    every = {
        "text-eof": lambda: text(address, plain),
        "text-modern": lambda: text(address, modern, extra),
        "prepared-eof": lambda: prepared(address, plain),
        "prepared-modern": lambda: prepared(address, modern, extra),
        "track-eof": lambda: track(address, plain),
        "track-modern": lambda: track(address, modern, extra),
        "users": lambda: users(address, plain, server),
        "infile": lambda: infile(address, plain),
        "binlog": lambda: binlog(address, plain),
        "denied": lambda: denied(address, plain),
    }
    if maria:
        every["bulk-eof"] = lambda: bulk(address, plain)
        every["bulk-modern"] = lambda: bulk(address, modern)
        every["progress"] = lambda: progress(address, plain)
    else:
        every["attributes"] = lambda: attributes(address, NEWEST)
    return every


def main():
    scenario, address, server = sys.argv[1:]
    host, port = address.rsplit(":", 1)
    scenarios((host, int(port)), server)[scenario]()


if __name__ == "__main__":
    main()
