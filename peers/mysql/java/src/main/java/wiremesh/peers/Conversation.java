package wiremesh.peers;

import static wiremesh.peers.Driver.all;
import static wiremesh.peers.Driver.results;
import static wiremesh.peers.Driver.rows;
import static wiremesh.peers.Steps.check;
import static wiremesh.peers.Steps.equal;
import static wiremesh.peers.Steps.refused;

import com.mysql.cj.jdbc.JdbcConnection;
import com.mysql.cj.jdbc.JdbcStatement;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** One short connection with something of everything, to be recorded. */
final class Conversation {
    private static final List<List<Object>> TABLE =
            List.of(Arrays.asList(1, "one"), Arrays.asList(2, null), Arrays.asList(3, "three"));
    private final Driver driver;
    private final boolean mysql;
    private final Connection c;

    Conversation(Driver driver, String address, String server, String user, String password) throws SQLException {
        this.driver = driver;
        mysql = server.equals("mysql8");
        String own = driver == Driver.CONNECTOR_J ? "useCursorFetch=true" : "useBulkStmts=true&useResetConnection=true";
        c = driver.connect(address, "test", user, password, own);
    }

    void run(Steps steps) {
        steps.step("table", this::table);
        steps.step("rows", this::rowsOfAllKinds);
        steps.step("a cursor", this::cursor);
        steps.step("several", () -> {
            try (Statement s = c.createStatement()) {
                return results(s, s.execute("select 1; update wm_said set b = 'two' where a = 2;"
                        + " select b from wm_said where a = 2"));
            }
        });
        steps.step("transactions", this::transactions);
        steps.step("errors", () -> List.of(refused(1146, () -> all(c, "select * from wm_missing")), refused(1146, () -> {
            try (PreparedStatement p = c.prepareStatement("select * from wm_missing where a = ?")) {
                p.setInt(1, 1);
                return p.executeQuery();
            }
        })));
        steps.step("ping", () -> {
            check(c.isValid(5), "no answer");
            return "answered";
        });
        if (driver == Driver.CONNECTOR_J) {
            steps.step("attributes", this::attributes);
        } else {
            steps.step("a batch", this::batch);
        }
        // MariaDB's driver resets no connection to MySQL.
        if (driver == Driver.CONNECTOR_J || !mysql) steps.step("reset", this::reset);
        steps.step("end", () -> {
            Driver.run(c, "drop table wm_said");
            c.close();
            return "closed";
        });
        steps.end();
    }

    private Object table() throws Exception {
        Driver.run(c, "drop table if exists wm_said");
        Driver.run(c, "create table wm_said(a int primary key, b varchar(20)) engine=innodb");
        try (PreparedStatement p = c.prepareStatement("insert into wm_said values (?, ?)")) {
            for (List<Object> row : TABLE) {
                p.setInt(1, (int) row.get(0));
                p.setString(2, (String) row.get(1));
                p.executeUpdate();
            }
            p.setInt(1, 1);
            return refused(1062, p::executeUpdate);
        }
    }

    private Object rowsOfAllKinds() throws Exception {
        equal(TABLE, all(c, "select a, b from wm_said order by a"));
        try (PreparedStatement p = c.prepareStatement("select a, b from wm_said where a < ? order by a")) {
            p.setInt(1, 10);
            equal(TABLE, rows(p.executeQuery()));
            p.setInt(1, 0);
            return rows(p.executeQuery());
        }
    }

    private Object cursor() throws Exception {
        try (PreparedStatement p = c.prepareStatement("select a, b from wm_said order by a")) {
            p.setFetchSize(2);
            List<List<String>> seen = rows(p.executeQuery());
            equal(TABLE, seen);
            return seen;
        }
    }

    private Object transactions() throws Exception {
        c.setAutoCommit(false);
        Driver.run(c, "insert into wm_said values (4, 'gone')");
        c.rollback();
        Driver.run(c, "insert into wm_said values (5, 'five')");
        c.commit();
        c.setAutoCommit(true);
        List<List<String>> seen = all(c, "select a from wm_said where a > 3");
        equal(List.of(List.of(5)), seen);
        return seen;
    }

    private Object attributes() throws Exception {
        if (!mysql) return "not of MariaDB";
        List<Object> seen = new ArrayList<>();
        String sql = "select mysql_query_attribute_string('who')";
        try (Statement s = c.createStatement(); PreparedStatement p = c.prepareStatement(sql + ", ?")) {
            ((JdbcStatement) s).setAttribute("who", "wm");
            seen.add(rows(s.executeQuery(sql)));
            ((JdbcStatement) p).setAttribute("who", "prepared");
            p.setString(1, "p");
            seen.add(rows(p.executeQuery()));
        }
        equal("[[[wm]], [[prepared, p]]]", seen);
        return seen;
    }

    private Object batch() throws Exception {
        try (PreparedStatement p = c.prepareStatement("insert into wm_said values (?, ?)")) {
            for (int n = 10; n < 15; n++) {
                p.setInt(1, n);
                p.setString(2, n == 12 ? null : "bulk " + n);
                p.addBatch();
            }
            equal(5, p.executeBatch().length);
        }
        return all(c, "select count(*) from wm_said where a >= 10");
    }

    private Object reset() throws Exception {
        Driver.run(c, "set @r = 5");
        if (driver == Driver.CONNECTOR_J) {
            c.unwrap(JdbcConnection.class).resetServerState();
        } else {
            c.unwrap(org.mariadb.jdbc.Connection.class).reset();
        }
        List<List<String>> seen = all(c, "select @r");
        equal("[[null]]", seen);
        return seen;
    }
}
