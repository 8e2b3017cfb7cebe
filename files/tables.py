"""Writing tables."""


def write_tsv(rows: list[dict], path: str) -> str:
    import pandas as pd

    pd.DataFrame(rows).to_csv(path, sep='\t', index=False, na_rep='n/a', float_format='%.6g')
    return path
