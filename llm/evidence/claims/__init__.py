"""The ledger of claims: what the paper claims, what the rows say about it, and how sure that is.

`table` lists the claims. Each has parts, and each part is a comparison of one of a few kinds (`change`, `front`,
`theory`) that gives lines: a number with its 95 % interval and a verdict. `ledger` reads the rows and
puts it all together; `render` writes it. Nothing here is typed in: the verdicts follow from the rows by `line`'s rule.
"""
