"""The tables hold 300 distinct bad inputs at least."""

from tests.hostile import test_commands, test_kept_files, test_models, test_recipes, test_rows


def test_there_are_300_distinct_ones() -> None:
    recipes = {lines for lines, _ in test_recipes.ROWS}
    commands = {line for line, _ in test_commands.ROWS}
    rows = {str(row) for row, _ in (*test_rows.SECOND_ROWS, *test_rows.SECOND_QUESTIONS)}
    files = {(name, content) for name, content, _ in test_rows.FILES}
    tables = {str(columns) for columns, _ in test_rows.TABLES}
    kept = {(name, where, repr(value)) for name, found in test_kept_files.ROWS.items() for where, value, _ in found}
    models = len(test_models.MODELS) + len(test_models.ADAPTERS)
    counts = [*map(len, (recipes, commands, rows, files, tables, kept)), models]
    assert sum(counts) >= 300, counts
