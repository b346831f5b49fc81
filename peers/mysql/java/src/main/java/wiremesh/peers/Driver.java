package wiremesh.peers;

import com.mysql.cj.jdbc.JdbcConnection;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;

/** How one of the two drivers is told what to do. */
enum Driver {
    CONNECTOR_J("jdbc:mysql://", "allowLoadLocalInfile=true&allowPublicKeyRetrieval=true", "sslMode=DISABLED") {
        @Override
        String tls(String ca) {
            // Without the names in the certificate, which are none of the machine's.
            return "sslMode=VERIFY_CA&trustCertificateKeyStoreType=PKCS12&trustCertificateKeyStorePassword=secret"
                    + "&fallbackToSystemTrustStore=false&trustCertificateKeyStoreUrl=file:" + TrustStore.of(ca);
        }

        @Override
        long number(Connection c) throws SQLException {
            return c.unwrap(JdbcConnection.class).getId();
        }
    },
    MARIADB("jdbc:mariadb://", "allowLocalInfile=true&allowPublicKeyRetrieval=true", "sslMode=disable") {
        @Override
        String tls(String ca) {
            return "sslMode=verify-ca&serverSslCert=" + ca;
        }

        @Override
        long number(Connection c) throws SQLException {
            return c.unwrap(org.mariadb.jdbc.Connection.class).getThreadId();
        }
    };

    private final String scheme;
    private final String options;
    final String plain;

    Driver(String scheme, String options, String plain) {
        this.scheme = scheme;
        this.options = options;
        this.plain = plain;
    }

    /** That of this name. */
    static Driver of(String name) {
        return name.equals("connector-j") ? CONNECTOR_J : MARIADB;
    }

    abstract String tls(String ca);

    /** What the connection was greeted with, which KILL goes by. */
    abstract long number(Connection c) throws SQLException;

    Connection connect(String address, String schema, String user, String password, String more) throws SQLException {
        String url = scheme + address + "/" + schema + "?allowMultiQueries=true&useServerPrepStmts=true"
                + "&connectTimeout=10000&socketTimeout=90000&" + options;
        url += "&" + (more.contains("sslMode") ? "" : plain + "&") + more;
        Properties who = new Properties();
        who.put("user", user);
        who.put("password", password);
        return DriverManager.getConnection(url, who);
    }

    /** The first column of the first row. */
    static String one(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) {
            r.next();
            return r.getString(1);
        }
    }

    /** How many rows it affected. */
    static int run(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement()) {
            s.execute(sql);
            return s.getUpdateCount();
        }
    }

    static List<List<String>> rows(ResultSet r) throws SQLException {
        ResultSetMetaData columns = r.getMetaData();
        List<List<String>> rows = new ArrayList<>();
        while (r.next()) {
            List<String> row = new ArrayList<>();
            for (int n = 1; n <= columns.getColumnCount(); n++) row.add(r.getString(n));
            rows.add(row);
        }
        return rows;
    }

    /** All rows of the only result. */
    static List<List<String>> all(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) {
            return rows(r);
        }
    }

    /** Every result of a statement that has been executed: its rows, or how many it affected. */
    static List<Object> results(Statement s, boolean hasRows) throws SQLException {
        List<Object> results = new ArrayList<>();
        while (hasRows || s.getUpdateCount() != -1) {
            results.add(hasRows ? rows(s.getResultSet()) : s.getUpdateCount());
            hasRows = s.getMoreResults();
        }
        return results;
    }
}
