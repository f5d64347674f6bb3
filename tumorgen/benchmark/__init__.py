"""The downstream benchmark: do synthetic tumours help a classifier of real ones?"""
