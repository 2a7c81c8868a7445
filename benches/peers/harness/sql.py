"""What the peers that are asked in SQL share: the choice of the statement, and the two pages of Q8."""

from .contract import Peer


class SqlPeer(Peer):
    """A peer with its statements in class attributes; `{org}`, `{t0}` ... stand for the parameters."""

    schema = ""
    sql = {}
    rollup_sql = {}
    # One page of Q8; `{cursor}` is empty or `after`, filled with the last row's time and id.
    page = ""
    after = ""

    @classmethod
    def statements(cls):
        yield "schema", cls.schema if isinstance(cls.schema, str) else "\n".join(cls.schema.values())
        yield "questions", "\n".join(f"{question}: {text}" for question, text in cls.sql.items())
        yield "Q8, one page", cls.page
        if cls.rollup_sql:
            yield "from summaries", "\n".join(f"{q}: {text}" for q, text in cls.rollup_sql.items())

    def rows(self, sql):
        """All rows of a statement."""
        raise NotImplementedError

    def query(self, question, parameters):
        if question == "Q8":
            first = self.rows(self.page.format(cursor="", **parameters))
            after = self.after.format(ts=first[-1][0], id=first[-1][1])
            return first + self.rows(self.page.format(cursor=after, **parameters))
        return self.rows((self.rollup_sql if self.rollups else self.sql)[question].format(**parameters))
