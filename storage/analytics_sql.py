"""Analytics SQL: which statements may be run over tables for analysis, judged by their tree.

What is not known to be harmless is refused: a statement has to be one SELECT made of the nodes, the
functions and the functions of tables that are listed here. Others read files, change the process,
take addresses of memory, or make values of any size which neither the limit of memory nor an
interrupt stops (`repeat`, `range` as a value, `format`, ...: measured with DuckDB 2.0.1). A table
is a collection, named as `database.collection`, or a name that the statement itself gives by WITH.

Pure: it judges what DuckDB's `json_serialize_sql` tells of a statement, and never runs it.
"""

import json
from typing import Any, NamedTuple

from .. import CoveyError

SQL_BYTES_MAX = 65_536
MESSAGE_CHARACTERS_MAX = 300


class SqlError(CoveyError):
    """What was given is no SQL that is run here. Nothing was run and nothing was changed."""

    exit_code = 2


class Question(NamedTuple):
    """A statement that may be run, and the collections that it reads: (database, collection)."""

    sql: str
    tables: tuple[tuple[str, str], ...]


_NODES = """
    SELECT_NODE SET_OPERATION_NODE RECURSIVE_CTE_NODE CTE_NODE
    BASE_TABLE SUBQUERY JOIN TABLE_FUNCTION EMPTY EXPRESSION_LIST SHOW_REF
    ORDER_MODIFIER LIMIT_MODIFIER LIMIT_PERCENT_MODIFIER DISTINCT_MODIFIER
    ORDER_DEFAULT ASCENDING DESCENDING
"""
_CLASSES = """
    BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT DEFAULT FUNCTION LAMBDA
    LAMBDA_REF OPERATOR PARAMETER POSITIONAL_REFERENCE STAR SUBQUERY TYPE WINDOW
"""
_TABLE_FUNCTIONS = ("range", "generate_series", "unnest", "json_each", "json_tree")
_FUNCTIONS = """
    + - * / // % ^ ** & | << >> ~ ! @ || ~~ !~~ ~~* !~~* ~~~ ^@ -> ->> @> <@ && <-> <=>
    like_escape not_like_escape ilike_escape not_ilike_escape

    any_value approx_count_distinct approx_quantile arbitrary arg_max arg_min argmax argmin
    array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count count_if count_star countif
    covar_pop covar_samp entropy favg first fsum geomean group_concat histogram kahan_sum kurtosis
    last list listagg mad max max_by mean median min min_by mode product quantile quantile_cont
    quantile_disc regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy
    regr_syy sem skewness stddev stddev_pop stddev_samp string_agg sum sumkahan var_pop var_samp
    variance wavg weighted_avg json_group_array json_group_object
    cume_dist dense_rank fill first_value lag last_value lead nth_value ntile percent_rank rank
    rank_dense row_number

    abs acos acosh asin asinh atan atan2 atanh bit_count cbrt ceil ceiling cos cosh cot degrees even
    exp fdiv floor fmod gcd greatest isfinite isinf isnan lcm least ln log log10 log2 mod nextafter
    pi pow power radians round round_even sign signbit sin sinh sqrt tan tanh trunc xor

    age century current_date date_add date_diff date_part date_sub date_trunc datediff datepart
    datesub datetrunc day dayname dayofmonth dayofweek dayofyear days_in_month decade epoch epoch_ms
    epoch_ns epoch_us era get_current_timestamp hour isodow isoyear julian last_day make_date
    make_time make_timestamp make_timestamp_ms make_timestamptz microsecond millennium millisecond
    minute month monthname now quarter second strftime strptime time_bucket timezone timezone_hour
    timezone_minute to_centuries to_days to_decades to_hours to_microseconds to_milliseconds
    to_minutes to_months to_quarters to_seconds to_timestamp to_weeks to_years today try_strptime
    week weekday weekofyear year yearweek

    ascii base64 bit_length char_length character_length chr concat concat_ws contains
    damerau_levenshtein decode encode ends_with from_base64 from_hex hamming hash hex instr jaccard
    jaro_similarity jaro_winkler_similarity lcase left left_grapheme len length length_grapheme
    levenshtein lower ltrim md5 mismatches nfc_normalize octet_length ord position prefix
    regexp_escape regexp_extract regexp_extract_all regexp_full_match regexp_matches regexp_replace
    regexp_split_to_array replace reverse right right_grapheme rtrim sha1 sha256 split split_part
    starts_with str_split string_split string_to_array strip_accents strlen strpos substr substring
    substring_grapheme suffix to_base64 to_hex translate trim ucase unhex unicode upper url_decode
    url_encode

    json json_array json_array_length json_contains json_exists json_extract json_extract_path
    json_extract_path_text json_extract_string json_keys json_object json_quote json_structure
    json_type json_valid json_value to_json row_to_json array_to_json

    array_contains array_distinct array_extract array_has array_has_all array_has_any array_length
    array_position array_slice array_sort array_to_string array_unique array_value cardinality
    element_at flatten if list_avg list_concat list_contains list_count list_distinct list_element
    list_extract list_filter list_has list_has_all list_has_any list_intersect list_max list_median
    list_min list_position list_reverse list_reverse_sort list_select list_slice list_sort list_sum
    list_apply list_transform list_unique list_value list_where list_zip map map_contains
    map_entries map_extract map_from_entries map_keys map_values nullif row struct_extract
    struct_insert struct_keys struct_pack struct_values typeof unnest ifnull
"""

# What a tree may have beside expressions, which have a class; then those, and what they call.
NODES, CLASSES, FUNCTIONS = (frozenset(text.split()) for text in (_NODES, _CLASSES, _FUNCTIONS))


def judged(sql: str, told: str) -> Question:
    """What a statement reads, by its tree as JSON.

    Raises: SqlError unless it is one SELECT of what is allowed.
    """
    try:
        tree = json.loads(told)
    except RecursionError:
        raise SqlError("the query is nested too deep: split it, or write it shorter") from None
    if tree["error"]:
        message = str(tree["error_message"])
        if message.startswith("Only SELECT"):
            raise SqlError("only a SELECT is run: SQL reads records and never changes them")
        if message.startswith("Max expression depth"):  # It names a setting, which nobody can set.
            raise SqlError("the query is nested too deep: split it, or write it shorter")
        if "named and positional" in message:
            raise SqlError("the parameters are `?` by place or `$name` by name, and not both")
        raise SqlError(first_line(message))
    if len(tree["statements"]) != 1:
        raise SqlError(f"{len(tree['statements'])} statements: give one SELECT at a time")
    return Question(sql, _Judge().tables_of(tree["statements"][0]))


def first_line(message: str) -> str:
    return message.split("\n", 1)[0][:MESSAGE_CHARACTERS_MAX]


class _Judge:
    """Walks one tree. Not by recursion: the tree is as deep as somebody likes."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str, str], None] = {}
        self._given: set[str] = set()
        self._bare: list[str] = []

    def tables_of(self, statement: Any) -> tuple[tuple[str, str], ...]:
        waiting: list[Any] = [statement]
        while waiting:
            node = waiting.pop()
            if isinstance(node, list):
                waiting += node
            elif isinstance(node, dict):
                self._look(node)
                waiting += node.values()
        for name in self._bare:
            if name.lower() not in self._given:
                raise SqlError(f"no table {name!r:.80}: name one as database.collection")
        return tuple(self._tables)

    def _look(self, node: dict[str, Any]) -> None:
        kind, of_class = node.get("type"), node.get("class")
        if of_class is not None:
            if of_class not in CLASSES:
                raise SqlError(f"{of_class!s:.60}: not allowed here")
        elif isinstance(kind, str) and kind not in NODES:
            raise SqlError(f"{kind:.60}: not allowed here: SQL reads records and only reads")
        if kind == "TABLE_FUNCTION":
            self._table_function(node.get("function"))
        elif "function_name" in node and not node.get("covey_checked"):
            self._function(node)
        if kind == "BASE_TABLE":
            self._table(node)
        if kind == "SHOW_REF" and not node.get("query"):
            raise SqlError("not allowed here: `DESCRIBE database.collection` shows columns")
        if "cte_map" in node:
            self._given |= {str(cte["key"]).lower() for cte in node["cte_map"]["map"]}

    def _table_function(self, function: Any) -> None:
        name = _name_of(function if isinstance(function, dict) else {})
        if name not in _TABLE_FUNCTIONS:
            raise SqlError(f"{name:.60}(): this function of a table is not allowed here")
        function["covey_checked"] = True  # What it is given is walked as everything else is.

    def _function(self, node: dict[str, Any]) -> None:
        name = _name_of(node)
        if name not in FUNCTIONS:
            raise SqlError(f"{name:.60}(): this function is not allowed here")

    def _table(self, node: dict[str, Any]) -> None:
        database, name = str(node.get("schema_name") or ""), str(node.get("table_name") or "")
        if node.get("catalog_name") or node.get("at_clause"):
            raise SqlError(f"{name!r:.80}: name a table as database.collection, and no more")
        if database:
            self._tables[database, name] = None
        else:
            self._bare.append(name)


def _name_of(function: dict[str, Any]) -> str:
    """The name of a function of DuckDB's own, for nothing else is called here."""
    if function.get("schema") or function.get("catalog"):
        raise SqlError("a function is called by its name alone")
    return str(function.get("function_name")).lower()
