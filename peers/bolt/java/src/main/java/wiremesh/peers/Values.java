package wiremesh.peers;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/** Values that travel. */
public final class Values {
    private Values() {}

    /** Thrown by {@link Hello#fail}. */
    public static class BizException extends Exception {
        private static final long serialVersionUID = 1L;
        public final int code;

        public BizException(int code, String message) {
            super(message);
            this.code = code;
        }
    }

    /** What a plain SOFABolt client asks; this class's name is the frame's class field. */
    public static class Ask implements Serializable {
        private static final long serialVersionUID = 1L;
        public String op;
        public String text;
        public int number;

        public Ask() {}

        public Ask(String op, String text, int number) {
            this.op = op;
            this.text = text;
            this.number = number;
        }
    }

    /** What a plain SOFABolt server sends to its client. */
    public static class Push implements Serializable {
        private static final long serialVersionUID = 1L;
        public String text;

        public Push() {}

        public Push(String text) {
            this.text = text;
        }
    }

    /** A class that no server has a processor for. */
    public static class Stranger implements Serializable {
        private static final long serialVersionUID = 1L;
        public String text = "who?";
    }

    public enum Color { RED, GREEN }

    public static class Nested implements Serializable {
        private static final long serialVersionUID = 1L;
        public String name;
        public double ratio;
        public boolean flag;
        public byte[] raw;

        @Override
        public boolean equals(Object other) {
            return other instanceof Nested n && Objects.equals(n.name, name) && n.ratio == ratio
                && n.flag == flag && Arrays.equals(n.raw, raw);
        }

        @Override
        public int hashCode() {
            return Objects.hashCode(name);
        }
    }

    /** One of everything that hessian treats differently, with a shared reference and a cycle. */
    public static class Pojo implements Serializable {
        private static final long serialVersionUID = 1L;
        public String name;
        public long id;
        public Date when;
        public Color color;
        public List<String> tags = new ArrayList<>();
        public Map<String, Object> map = new LinkedHashMap<>();
        public Nested nested;
        public Pojo self;
        public Long nothing;

        static Pojo sample(String name) {
            Pojo p = new Pojo();
            p.name = name + " \u7f51\u683c \ud83d\ude80";
            p.id = 0x1122334455667788L;
            p.when = new Date(1700000000123L);
            p.color = Color.GREEN;
            p.tags.addAll(List.of("a", "", "\u00e9"));
            p.nested = new Nested();
            p.nested.name = "in";
            p.nested.ratio = 1.25;
            p.nested.flag = true;
            p.nested.raw = new byte[] {0, 1, -1};
            p.map.put("int", 7);
            p.map.put("long", 1L << 40);
            p.map.put("double", 0.5);
            p.map.put("null", null);
            p.map.put("same", p.nested);
            p.self = p;
            return p;
        }

        /** True if the other has the same content and the same shape of references. */
        boolean sameAs(Pojo o) {
            return name.equals(o.name) && id == o.id && when.equals(o.when) && color == o.color
                && tags.equals(o.tags) && map.equals(o.map) && nested.equals(o.nested)
                && o.map.get("same") == o.nested && o.self == o && o.nothing == null;
        }
    }
}
