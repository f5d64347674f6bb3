"""The downstream question: can a network tell the grades apart?"""
