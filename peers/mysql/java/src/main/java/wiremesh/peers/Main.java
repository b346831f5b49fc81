package wiremesh.peers;

import static wiremesh.peers.Driver.all;
import static wiremesh.peers.Driver.one;
import static wiremesh.peers.Driver.results;
import static wiremesh.peers.Driver.rows;
import static wiremesh.peers.Steps.check;
import static wiremesh.peers.Steps.equal;
import static wiremesh.peers.Steps.refused;
import static wiremesh.peers.Steps.until;

import com.mysql.cj.jdbc.JdbcConnection;
import com.mysql.cj.jdbc.JdbcStatement;
import java.io.ByteArrayInputStream;
import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.BatchUpdateException;
import java.sql.CallableStatement;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Timestamp;
import java.sql.Types;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.zip.CRC32;

/**
 * {@code Main connector-j|mariadb-j HOST:PORT SERVER CA}: a JDBC driver, all answers checked. With
 * {@code CLIENT-SERVER=HOST:PORT...} behind it: its logins by these ways, and no more. With
 * {@code converse USER PASSWORD} behind it: one short connection, to be recorded.
 */
public final class Main {
    private static final int[] ROWS = {
        0xffffff - 10, 0xffffff - 5, 0xffffff - 4, 0xffffff, 0x1000000, 20_000_000, 0x1fffffe
    };
    private static final int[] PARAMETERS = {0xffffff - 20, 0xffffff, 20_000_000, 40_000_000};
    private final Steps steps = new Steps();
    private final Driver driver;
    private final String address;
    private final String server;
    private final String ca;
    private final Connection c;

    private Main(String[] args) throws SQLException {
        driver = Driver.of(args[0]);
        address = args[1];
        server = args[2];
        ca = args[3];
        c = open("");
    }

    public static void main(String[] args) throws Exception {
        if (args.length == 7 && args[4].equals("converse")) {
            new Conversation(Driver.of(args[0]), args[1], args[2], args[5], args[6]).run(new Steps());
            return;
        }
        Main main = new Main(args);
        if (args.length == 4) {
            main.run();
            return;
        }
        Map<String, String> accounts = main.accounts();
        accounts.put("tlsonly", "tlspw");
        new Ways(main.driver, main.ca, Arrays.copyOfRange(args, 4, args.length)).run(main.steps, main.c, accounts);
    }

    private void run() {
        logins();
        statements();
        prepared();
        sizes();
        endings();
        sessions();
        if (driver == Driver.CONNECTOR_J) {
            connectorJ();
        } else {
            mariadb();
        }
        steps.step("end", () -> {
            Driver.run(c, "drop table if exists jd_m, jd_n, jd_t");
            c.close();
            return "closed";
        });
        steps.end();
    }

    private Connection open(String more) throws SQLException {
        return as("nat", "natpw", more);
    }

    private Connection as(String user, String password, String more) throws SQLException {
        return driver.connect(address, "test", user, password, more);
    }

    private Map<String, String> accounts() {
        Map<String, String> accounts = new LinkedHashMap<>(Map.of("nat", "natpw"));
        accounts.put("nopw", "");
        if (server.equals("mysql8")) {
            accounts.put("sha2", "sha2pw");
            if (driver == Driver.CONNECTOR_J) accounts.put("s256", "s256pw");
        }
        if (server.equals("mariadb10") && driver == Driver.MARIADB) accounts.put("ed", "edpw");
        return accounts;
    }

    private void logins() {
        accounts().forEach((user, password) -> steps.step("auth " + user, () -> {
            // Of caching_sha2_password the first is full authentication, the second the fast one.
            Driver.run(c, "flush privileges");
            List<String> seen = new ArrayList<>();
            for (int n = 0; n < 2; n++) {
                try (Connection d = as(user, password, "")) {
                    seen.add(one(d, "select current_user()"));
                }
            }
            return seen;
        }));
        steps.step("wrong password", () -> refused(1045, () -> as("nat", "wrong", "")));
        steps.step("unknown schema",
                () -> refused(1049, () -> driver.connect(address, "wm_missing", "nat", "natpw", "")));
        steps.step("TLS needed", () -> refused(1045, () -> as("tlsonly", "tlspw", "")));
        steps.step("TLS", () -> {
            List<Object> seen = new ArrayList<>();
            for (String[] account : new String[][] {{"nat", "natpw"}, {"tlsonly", "tlspw"}}) {
                try (Connection d = as(account[0], account[1], driver.tls(ca))) {
                    List<List<String>> cipher = all(d, "show status like 'Ssl_cipher'");
                    check(!cipher.get(0).get(1).isEmpty(), "no cipher");
                    seen.add(cipher);
                    seen.add(one(d, "select repeat('x', 1000000)").length());
                }
            }
            return seen;
        });
        steps.step("compressed", () -> {
            try (Connection d = open("useCompression=true"); PreparedStatement p = d.prepareStatement("select ?")) {
                String text = "ab".repeat(3_000_000);
                p.setString(1, text);
                equal(text.hashCode(), rows(p.executeQuery()).get(0).get(0).hashCode());
                return all(d, "show status like 'Compression'");
            }
        });
    }

    private void statements() {
        steps.step("characters", () -> {
            String text = "a\u00e9\u6f22\ud83d\ude00";
            equal(text, one(c, "select '" + text + "'"));
            return text;
        });
        steps.step("several statements", () -> {
            Driver.run(c, "drop table if exists jd_m");
            try (Statement s = c.createStatement()) {
                return results(s, s.execute("select 1; create table jd_m(a int primary key auto_increment, b varchar(20));"
                        + " insert into jd_m(b) values ('x'), ('y'); select b from jd_m order by a; select 7"));
            }
        });
        steps.step("several, and an error", () -> {
            try (Statement s = c.createStatement()) {
                String sql = "select 1; select 2; select * from wm_missing; select 4";
                String said = refused(1146, () -> results(s, s.execute(sql)));
                return List.of(said, one(c, "select 5"));
            }
        });
        steps.step("no statement", () -> refused(1064, () -> Driver.run(c, "this is no statement")));
        steps.step("warnings", () -> {
            try (Statement s = c.createStatement()) {
                s.execute("select cast('abc' as signed)");
                return s.getWarnings().getMessage();
            }
        });
        steps.step("keys", () -> {
            try (Statement s = c.createStatement()) {
                s.execute("insert into jd_m(b) values ('k1'), ('k2')", Statement.RETURN_GENERATED_KEYS);
                return rows(s.getGeneratedKeys());
            }
        });
        steps.step("many rows", () -> {
            Driver.run(c, "drop table if exists jd_n");
            Driver.run(c, "create table jd_n(a int primary key, b varchar(40))");
            for (int block = 0; block < 20; block++) {
                List<String> values = new ArrayList<>();
                for (int n = block * 1000; n < block * 1000 + 1000; n++) values.add("(" + n + ",'row " + n + "')");
                Driver.run(c, "insert into jd_n values " + String.join(",", values));
            }
            List<List<String>> rows = all(c, "select a, b from jd_n order by a");
            for (int n = 0; n < rows.size(); n++) equal(List.of(n, "row " + n), rows.get(n));
            return rows.size();
        });
        steps.step("an error among rows", () -> refused(1242,
                () -> all(c, "select a, if(a < 15000, a, (select 1 union select 2)) from jd_n order by a")));
        steps.step("rows that are not read", () -> {
            try (Statement s = c.createStatement()) {
                s.setFetchSize(driver == Driver.CONNECTOR_J ? Integer.MIN_VALUE : 1);
                s.executeQuery("select a, b from jd_n").next();
            }
            return one(c, "select 3");
        });
        steps.step("LOCAL INFILE", () -> {
            Path file = Files.createTempFile("jd", ".csv");
            StringBuilder lines = new StringBuilder();
            for (int n = 0; n < 50_000; n++) lines.append(n).append(",v").append(n).append('\n');
            Files.writeString(file, lines);
            Driver.run(c, "drop table if exists jd_l");
            Driver.run(c, "create table jd_l(a int, b varchar(20))");
            String load = "load data local infile '%s' into table jd_l fields terminated by ','";
            equal(50_000, Driver.run(c, load.formatted(file)));
            Files.delete(file);
            boolean refused = false;
            try {
                Driver.run(c, load.formatted("/missing.csv"));
            } catch (SQLException e) {
                refused = true;
            }
            String sum = one(c, "select sum(a) from jd_l");
            Driver.run(c, "drop table jd_l");
            return List.of(refused, sum);
        });
        steps.step("CALL", () -> {
            Driver.run(c, "drop procedure if exists jd_p");
            Driver.run(c, "create procedure jd_p(in n int, out o int, inout s varchar(50)) begin select n, n + 1;"
                    + " select 'second' union all select 'row'; set o = n * 2; set s = concat(s, '!'); end");
            try (CallableStatement p = c.prepareCall("{call jd_p(?, ?, ?)}")) {
                p.setInt(1, 21);
                p.registerOutParameter(2, Types.INTEGER);
                p.setString(3, "hi");
                p.registerOutParameter(3, Types.VARCHAR);
                List<Object> seen = results(p, p.execute());
                seen.add(p.getInt(2));
                seen.add(p.getString(3));
                return seen;
            } finally {
                Driver.run(c, "drop procedure jd_p");
            }
        });
    }

    private void prepared() {
        steps.step("prepared types", () -> {
            List<Object> seen = new ArrayList<>();
            try (PreparedStatement p = c.prepareStatement("select ?, ?, ?, ?, ?, ?, ?")) {
                for (int n = 0; n < 3; n++) {
                    p.setLong(1, Long.MIN_VALUE + n);
                    p.setDouble(2, 1.5 + n);
                    p.setString(3, "text " + n);
                    p.setNull(4, Types.VARCHAR);
                    p.setBigDecimal(5, new BigDecimal("123456789.123456789"));
                    p.setTimestamp(6, Timestamp.valueOf("2024-02-29 23:59:59.123456"));
                    p.setBytes(7, new byte[] {0, 1, (byte) 0xff});
                    ResultSet r = p.executeQuery();
                    r.next();
                    seen.add(List.of(r.getLong(1), r.getDouble(2), r.getString(3), r.getString(4) == null,
                            r.getBigDecimal(5), r.getTimestamp(6), Arrays.toString(r.getBytes(7))));
                }
            }
            return seen;
        });
        steps.step("200 statements", () -> {
            List<PreparedStatement> open = new ArrayList<>();
            for (int n = 0; n < 200; n++) open.add(c.prepareStatement("select ? + " + n));
            for (int n = 199; n >= 0; n--) {
                open.get(n).setInt(1, 1000);
                equal(1000 + n, rows(open.get(n).executeQuery()).get(0).get(0));
                open.get(n).close();
            }
            return "in the opposite order";
        });
        // MariaDB's driver has executed by then what is refused.
        steps.step("a statement that cannot be prepared", () -> List.of(refused(1146, () -> {
            try (PreparedStatement p = c.prepareStatement("select * from wm_missing where a = ?")) {
                p.setInt(1, 1);
                return p.executeQuery();
            }
        }), one(c, "select 8")));
        steps.step("long data", () -> {
            try (PreparedStatement p = c.prepareStatement("select length(?), crc32(?)")) {
                byte[] b = new byte[3 << 20];
                new java.util.Random(7).nextBytes(b);
                p.setBinaryStream(1, new ByteArrayInputStream(b), b.length);
                p.setBinaryStream(2, new ByteArrayInputStream(b), b.length);
                equal(List.of(b.length, crc(b)), rows(p.executeQuery()).get(0));
                return "2 x 3 MiB";
            }
        });
        String cursor = driver == Driver.CONNECTOR_J ? "useCursorFetch=true&defaultFetchSize=%d" : "defaultFetchSize=%d";
        steps.step("a cursor", () -> {
            try (Connection d = open(cursor.formatted(100));
                    PreparedStatement p = d.prepareStatement("select a, b from jd_n order by a")) {
                List<List<String>> rows = rows(p.executeQuery());
                for (int n = 0; n < rows.size(); n++) equal(List.of(n, "row " + n), rows.get(n));
                return rows.size();
            }
        });
        steps.step("a cursor that is left", () -> {
            try (Connection d = open(cursor.formatted(10))) {
                try (PreparedStatement p = d.prepareStatement("select a, b from jd_n order by a")) {
                    ResultSet r = p.executeQuery();
                    for (int n = 0; n < 25; n++) r.next();
                }
                return one(d, "select count(*) from jd_n");
            }
        });
        steps.step("a batch", () -> {
            try (PreparedStatement p = c.prepareStatement("insert into jd_m(b) values (?)")) {
                for (int n = 0; n < 300; n++) {
                    p.setString(1, "batch " + n);
                    p.addBatch();
                }
                return List.of(p.executeBatch().length, one(c, "select count(*) from jd_m where b like 'batch%'"));
            }
        });
    }

    private void sizes() {
        for (int size : ROWS) {
            steps.step("row of " + size, () -> {
                equal(size, one(c, "select repeat('x', " + size + ")").length());
                return one(c, "select 1");
            });
        }
        for (int size : PARAMETERS) {
            steps.step("parameter of " + size, () -> {
                byte[] b = new byte[size];
                Arrays.fill(b, (byte) 'z');
                b[size - 1] = 'q';
                try (PreparedStatement p = c.prepareStatement("select length(?), crc32(?)")) {
                    p.setBytes(1, b);
                    p.setBytes(2, Arrays.copyOfRange(b, size - 1000, size));
                    equal(List.of(size, crc(Arrays.copyOfRange(b, size - 1000, size))), rows(p.executeQuery()).get(0));
                }
                return one(c, "select 1");
            });
        }
    }

    private static long crc(byte[] bytes) {
        CRC32 crc = new CRC32();
        crc.update(bytes);
        return crc.getValue();
    }

    private void endings() {
        steps.step("transactions", () -> {
            Driver.run(c, "drop table if exists jd_t");
            Driver.run(c, "create table jd_t(a int primary key) engine=innodb");
            try (Connection d = open("")) {
                d.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
                d.setAutoCommit(false);
                Driver.run(d, "insert into jd_t values (1)");
                d.rollback();
                Driver.run(d, "insert into jd_t values (2)");
                Savepoint point = d.setSavepoint("point");
                Driver.run(d, "insert into jd_t values (3)");
                d.rollback(point);
                d.commit();
                d.setReadOnly(true);
                return all(d, "select a from jd_t");
            }
        });
        steps.step("KILL", () -> {
            Connection d = open("");
            long id = driver.number(d);
            d.setAutoCommit(false);
            Driver.run(d, "insert into jd_t values (50)");
            Driver.run(c, "kill " + id);
            until("gone", () -> one(c, here(id)).equals("0"));
            try {
                return "answered: " + one(d, "select 1");
            } catch (SQLException e) {
                until("rolled back", () -> one(c, "select count(*) from jd_t where a = 50").equals("0"));
                return "rolled back";
            }
        });
        steps.step("a client that is gone", () -> {
            Connection d = open("");
            d.setAutoCommit(false);
            Driver.run(d, "insert into jd_t values (60)");
            d.abort(Runnable::run);
            // It waits for the other one's lock, of whose end MariaDB once did not wake it: it is asked for again.
            Driver.run(c, "set innodb_lock_wait_timeout = 1");
            until("its lock is gone", () -> {
                try {
                    Driver.run(c, "insert into jd_t values (60)");
                    return true;
                } catch (SQLException e) {
                    if (e.getErrorCode() != 1205) {
                        throw e;
                    }
                    return false;
                }
            });
            return Driver.run(c, "set innodb_lock_wait_timeout = 50");
        });
        steps.step("KILL QUERY", () -> {
            try (Connection d = open("")) {
                long id = driver.number(d);
                String sum = "select sum(a.a + b.a * c.a), " + id + " from jd_n a, jd_n b, jd_n c";
                CompletableFuture<String> said = CompletableFuture.supplyAsync(() -> {
                    try {
                        return refused(1317, () -> one(d, sum));
                    } catch (Exception e) {
                        return e.toString();
                    }
                });
                String running = "select count(*) from information_schema.processlist"
                        + " where info like 'select sum%, " + id + " from%'";
                until("it runs", () -> one(c, running).equals("1"));
                Driver.run(c, "kill query " + id);
                return List.of(said.get(), one(d, "select 8"));
            }
        });
        steps.step("a statement that takes too long", () -> {
            // The driver kills it from a connection of its own, or has the server do so.
            try (Connection d = open(""); Statement s = d.createStatement()) {
                s.setQueryTimeout(1);
                try {
                    s.executeQuery("select sum(a.a + b.a * c.a) from jd_n a, jd_n b, jd_n c");
                } catch (SQLException e) {
                    return List.of(e.getClass().getSimpleName(), one(d, "select 9"));
                }
                throw new IllegalStateException("it has ended");
            }
        });
    }

    private static String here(long id) {
        return "select count(*) from information_schema.processlist where id = " + id;
    }

    private void sessions() {
        steps.step("six sessions", () -> {
            List<Connection> open = new ArrayList<>();
            List<String> last = new ArrayList<>();
            for (int n = 0; n < 6; n++) {
                Connection d = open("");
                Driver.run(d, "set @u = " + n + ", session sort_buffer_size = " + (262144 + 4096 * n));
                Driver.run(d, "create temporary table jd_tmp as select " + n + " v");
                equal(1, one(d, "select get_lock('jd" + n + "', 0)"));
                Driver.run(d, "insert into jd_m(b) values ('own " + n + "')");
                open.add(d);
                last.add(one(d, "select last_insert_id()"));
            }
            for (int round = 0; round < 5; round++) {
                for (int n = 5; n >= 0; n--) {
                    String want = n + " " + (262144 + 4096 * n) + " " + n + " " + last.get(n);
                    equal(want, one(open.get(n), "select concat_ws(' ', @u, @@sort_buffer_size, (select v from jd_tmp),"
                            + " last_insert_id())"));
                }
            }
            for (Connection d : open) d.close();
            try (Connection d = open("")) {
                return List.of(one(d, "select concat_ws(' ', @u is null, get_lock('jd3', 5))"),
                        refused(1146, () -> all(d, "select * from jd_tmp")));
            }
        });
        steps.step("60 connections", () -> {
            List<Connection> open = new ArrayList<>();
            for (int n = 0; n < 60; n++) open.add(open(""));
            for (int n = 59; n >= 0; n--) equal(n, one(open.get(n), "select " + n));
            for (Connection d : open) d.close();
            return open.size();
        });
    }

    /** What Connector/J alone can do. */
    private void connectorJ() {
        steps.step("COM_RESET_CONNECTION", () -> {
            try (Connection d = open("")) {
                Driver.run(d, "set @r = 5");
                Driver.run(d, "create temporary table jd_r(a int)");
                d.unwrap(JdbcConnection.class).resetServerState();
                return List.of(all(d, "select @r, database()"), refused(1146, () -> all(d, "select * from jd_r")));
            }
        });
        steps.step("COM_CHANGE_USER", () -> {
            try (Connection d = open("")) {
                Driver.run(d, "set @r = 5");
                d.unwrap(JdbcConnection.class).changeUser("nopw", "");
                return all(d, "select @r, current_user(), database()");
            }
        });
        if (!server.equals("mysql8")) return;
        steps.step("query attributes", () -> {
            List<Object> seen = new ArrayList<>();
            try (Statement s = c.createStatement()) {
                ((JdbcStatement) s).setAttribute("who", "wm");
                seen.add(rows(s.executeQuery("select mysql_query_attribute_string('who')")));
            }
            try (PreparedStatement p = c.prepareStatement("select mysql_query_attribute_string('n'), ?")) {
                ((JdbcStatement) p).setAttribute("n", 42);
                p.setString(1, "p");
                seen.add(rows(p.executeQuery()));
            }
            return seen;
        });
        steps.step("session tracking", () -> {
            try (Connection d = open("trackSessionState=true")) {
                StringBuilder seen = new StringBuilder();
                Driver.run(d, "set session session_track_system_variables = 'time_zone,autocommit'");
                d.unwrap(JdbcConnection.class).getServerSessionStateController().addSessionStateChangesListener(
                        changes -> changes.getSessionStateChangesList().forEach(
                                change -> seen.append(change.getType()).append(change.getValues()).append(' ')));
                Driver.run(d, "set time_zone = '+05:00'");
                Driver.run(d, "use mysql");
                Driver.run(d, "set autocommit = 0");
                check(seen.toString().contains("+05:00"), seen);
                return seen;
            }
        });
    }

    /** What MariaDB's driver alone can do. */
    private void mariadb() {
        if (!server.equals("mysql8")) {
            steps.step("COM_RESET_CONNECTION", () -> {
                try (Connection d = open("useResetConnection=true")) {
                    Driver.run(d, "set @r = 5");
                    Driver.run(d, "create temporary table jd_r(a int)");
                    d.unwrap(org.mariadb.jdbc.Connection.class).reset();
                    return List.of(all(d, "select @r, database()"), refused(1146, () -> all(d, "select * from jd_r")));
                }
            });
        }
        // COM_STMT_BULK_EXECUTE, where the server has it.
        steps.step("bulk", () -> {
            try (Connection d = open("useBulkStmts=true")) {
                String sql = "insert into jd_m(b) values (?)";
                try (PreparedStatement p = d.prepareStatement(sql, Statement.RETURN_GENERATED_KEYS)) {
                    for (int n = 0; n < 1000; n++) {
                        p.setString(1, n % 7 == 0 ? null : "bulk " + n);
                        p.addBatch();
                    }
                    equal(1000, p.executeBatch().length);
                }
                return one(d, "select count(*) from jd_m where b like 'bulk%'");
            }
        });
        steps.step("bulk, refused", () -> {
            try (Connection d = open("useBulkStmts=true");
                    PreparedStatement p = d.prepareStatement("insert into jd_t values (?)")) {
                for (int n : new int[] {100, 101, 100}) {
                    p.setInt(1, n);
                    p.addBatch();
                }
                try {
                    p.executeBatch();
                } catch (BatchUpdateException e) {
                    return List.of(e.getErrorCode(), one(d, "select 7"));
                }
                throw new IllegalStateException("not refused");
            }
        });
        // PREPARE and EXECUTE without waiting in between, where the server allows it.
        steps.step("pipelined", () -> {
            try (Connection d = open("useBulkStmts=false&useServerPrepStmts=true")) {
                List<Object> seen = new ArrayList<>();
                for (int n = 0; n < 20; n++) {
                    try (PreparedStatement p = d.prepareStatement("select ? + " + n)) {
                        p.setInt(1, n);
                        seen.add(rows(p.executeQuery()).get(0).get(0));
                    }
                }
                return seen;
            }
        });
    }
}
