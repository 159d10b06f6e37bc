"""Tables as text: what is escaped, and that LaTeX and CSV are well formed."""

from __future__ import annotations

import csv
import io
import re

from anomalyclip_med.studies.typeset import Entry, TextTable, comma_separated, latex, markdown

TABLE = TextTable(
    "table_1",
    "50 % of A_b & c",
    ("method", "a|b", "x > y"),
    (
        (
            (Entry("our_method #1"),),
            (Entry("90.3 ± 0.4", bold=True), Entry("92.2", mark="†")),
            (Entry("44.9", mark="1"),),
        ),
        ((Entry("a{b}~^\\$"),), (), (Entry("-0.7"),)),
    ),
    1,
    ("† a note <b>, 10 % off.",),
    ({"method": "our, method", "mean": 90.3, "sd": None},),
)


def test_markdown_is_a_pipe_table_with_caption_and_notes() -> None:
    assert markdown(TABLE).splitlines() == [
        "50 % of A_b & c",
        "",
        r"| method        |         a\|b          |  x > y   |",
        "|:--------------|:---------------------:|:--------:|",
        "| our_method #1 | **90.3 ± 0.4**, 92.2† | 44.9 [1] |",
        r"| a{b}~^\\$     |                       |   -0.7   |",
        "",
        r"- † a note \<b>, 10 % off.",
    ]


def test_latex_is_balanced_escaped_and_has_a_cell_for_each_column() -> None:
    text = latex(TABLE, "tab:study_table_1")
    lines = text.splitlines()
    begun = re.findall(r"\\(begin|end)\{(\w+)\}", text)
    assert begun == [("begin", "table"), ("begin", "tabular"), ("end", "tabular"), ("end", "table")]
    assert r"\begin{tabular}{lcc}" in lines
    assert [line for line in lines if line in (r"\toprule", r"\midrule", r"\bottomrule")] == [
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
    ]
    bare = re.sub(r"\\[\\&%$#_{}]", "", text)  # what is escaped
    assert bare.count("{") == bare.count("}")
    assert "%" not in bare
    assert "#" not in bare
    assert not re.search(r"_(?!.*\})", bare)  # only in the label
    rows = [line for line in lines if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [2, 2, 2]
    assert rows[0] == r"method & a\textbar{}b & x \textgreater{} y \\"
    assert rows[1] == (
        r"our\_method \#1 & \textbf{90.3 $\pm$ 0.4}, 92.2\textsuperscript{\textdagger{}} & 44.9\textsuperscript{1} \\"
    )
    assert rows[2] == r"a\{b\}\textasciitilde{}\textasciicircum{}\textbackslash{}\$ &  & $-$0.7 \\"
    assert r"\caption{50 \% of A\_b \& c}" in lines
    assert r"\label{tab:study_table_1}" in lines


def test_csv_has_plain_numbers() -> None:
    (row,) = csv.DictReader(io.StringIO(comma_separated(TABLE.records)))
    assert row == {"method": "our, method", "mean": "90.3", "sd": ""}
