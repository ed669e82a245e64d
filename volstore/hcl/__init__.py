"""HCL 1 and JSON as Nomad reads them: `lexer` and `parser` make items of a text, `json_form` of its JSON spelling.

`volume_file` turns items into the API's volumes, `volstore.core.acl.policy` into rules.
"""
