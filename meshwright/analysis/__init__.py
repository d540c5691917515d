"""`meshwright analyze`: what is valid and yet not right, in documents, in what registries say, and at live proxies.

A check is a pure function of what there is to see (`sight.Sight`); the catalogue has all, each with a code that stays, a bad example and
its cure, which its test and its page in the documentation are made from.
"""
